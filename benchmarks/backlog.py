"""Draining a backlog: no-op tasks a second with two children, the queue filled before the workers start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import draining
from benchmarks.contenders import PEERS
from benchmarks.entrant import entered
from benchmarks.measure import Figures, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]


def contenders(plan: Plan) -> Sequence[str]:
    """Everybody."""
    return list(PEERS)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Fill, start the workers, and time the last nine tenths."""
    with entered(stage, contender, plan.rows) as entrant:
        since = draining.moment()
        draining.fill(entrant, plan.drained)
        with entrant.working():
            rate = draining.drain(entrant, plan.drained, plan.patience)
            draining.require_recorded(entrant, since, plan.drained)
    return {"per_second": rate}


MEASURE = Measure("backlog", "tasks a second draining a filled queue", contenders, run)
