"""Single enqueues: `.delay()` in one process, its row committed and its message sent before it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import BARE, OURS, PEERS
from benchmarks.entrant import entered
from benchmarks.measure import Figures, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]


def contenders(plan: Plan) -> Sequence[str]:
    """Ours and bare Celery; with all peers, theirs too."""
    return list(PEERS) if plan.all_peers else (OURS, BARE)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Enqueue one by one, no worker running."""
    with entered(stage, contender, plan.rows) as entrant:
        return entrant.program("send", plan.sent)


MEASURE = Measure("delay", "single enqueues a second", contenders, run)
