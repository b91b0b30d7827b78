"""The promoter: due jobs sent from SQL to the broker, beside a loop of bare Celery's `.delay()`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import own
from benchmarks.contenders import BARE, OURS
from benchmarks.entrant import Failed, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

BATCH = 5_000


def contenders(plan: Plan) -> Sequence[str]:
    """Ours and bare Celery's loop."""
    return (OURS, BARE)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Hold jobs back for an hour, make them due, and time one turn of the promoter."""
    with entered(stage, contender, plan.rows) as entrant:
        if contender == BARE:
            return entrant.program("send", plan.promoted // 10)
        with own.opened(entrant) as app:
            hold(app, plan.promoted)
            query(
                entrant.database, "UPDATE jobs SET scheduled_at = now() WHERE finished_at IS NULL AND queue = 'celery'"
            )
            started = time.perf_counter()
            sent = app.service("promoter").run_once()
            seconds = time.perf_counter() - started
        if sent < plan.promoted:
            raise Failed(f"{sent:,} of {plan.promoted:,} due jobs were sent")
        return {"per_second": sent / seconds}


def hold(app: own.Own, count: int) -> None:
    """Enqueue no-ops that wait in SQL."""
    for first in range(0, count, BATCH):
        app.jobs.enqueue_many([{"task": "noop"}] * min(BATCH, count - first), countdown=3600)


MEASURE = Measure("promoter", "due jobs a second sent by the promoter", contenders, run)
