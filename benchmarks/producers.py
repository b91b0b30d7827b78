"""Draining a backlog while producers run beside: two processes that each enqueue at a steady pace."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import draining
from benchmarks.contenders import BARE, OURS
from benchmarks.entrant import entered
from benchmarks.measure import Figures, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

PRODUCERS, PACE = 2, 100.0
"""Processes, and jobs that each enqueues a second: the same for every contender, or the slower one had less to do."""


def contenders(plan: Plan) -> Sequence[str]:
    """Ours and bare Celery."""
    return (OURS, BARE)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Fill, start producers and workers, and time so many tasks, whoever enqueued them."""
    with entered(stage, contender, plan.rows) as entrant:
        draining.fill(entrant, plan.beside)
        with ExitStack() as stack:
            for _ in range(PRODUCERS):
                stack.enter_context(entrant.producing("pace", 1_000_000, PACE))
            stack.enter_context(entrant.working())
            rate = draining.drain(entrant, plan.beside, plan.patience)
    return {"per_second": rate}


MEASURE = Measure("producers", "tasks a second draining a filled queue, producers beside", contenders, run)
