"""From `.delay()` to the start of the task on an idle worker: what celery-jobs adds to bare Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import tally
from benchmarks.contenders import BARE, OURS
from benchmarks.entrant import Failed, await_until, entered
from benchmarks.figures import percentile
from benchmarks.measure import Figures, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

APART = 0.02
"""Seconds between two tasks: the worker has long been idle again."""


def contenders(plan: Plan) -> Sequence[str]:
    """Ours and bare Celery."""
    return (OURS, BARE)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Enqueue timed tasks now and then, after the worker has shown that it runs."""
    with entered(stage, contender, plan.rows) as entrant, entrant.working():
        entrant.program("send", 1)
        entrant.require_runs(1)
        entrant.program("wait", plan.waits, APART)
        if not await_until(lambda: entrant.timed >= plan.waits, 10):
            raise Failed(f"{contender}: {entrant.timed} of {plan.waits} timed tasks have run")
        waits = [1000 * wait for wait in tally.waits(entrant.folder)]
    return {"median_ms": percentile(waits, 50), "p99_ms": percentile(waits, 99)}


MEASURE = Measure("latency", "time from enqueue to start, worker idle", contenders, run, "median_ms", "ms")
