"""Bulk enqueues: what a contender has for many jobs at once, beside a loop of bare Celery's `.delay()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import BARE, OURS
from benchmarks.entrant import entered
from benchmarks.measure import Figures, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

WITH_BATCHES = ("procrastinate", "pgqueuer", "RQ")


def contenders(plan: Plan) -> Sequence[str]:
    """Ours, bare Celery's loop, and the peers that can enqueue many."""
    return (OURS, BARE, *(WITH_BATCHES if plan.all_peers else WITH_BATCHES[:1]))


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Enqueue in batches of 1,000; bare Celery's loop runs a tenth as long."""
    with entered(stage, contender, plan.rows) as entrant:
        if contender == BARE:
            return entrant.program("send", plan.bulk // 10)
        return entrant.program("send-many", plan.bulk)


MEASURE = Measure("many", "jobs a second enqueued in batches", contenders, run)
