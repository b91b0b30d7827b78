"""Bulk replay: the dead letters of a queue, each a new run that is committed and sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import history, own
from benchmarks.contenders import OURS
from benchmarks.entrant import Failed, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import SEED, dsn_of, query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

QUEUE = str(history.DEAD.queue)
REPLAYED = "SELECT count(*) FROM jobs WHERE queue = %(queue)s AND replay_of IS NOT NULL AND sent_at IS NOT NULL"


def contenders(plan: Plan) -> Sequence[str]:
    """Ours: no other has what could be compared."""
    return (OURS,)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Add dead letters to the history, and replay them as the command line would: by a filter."""
    with entered(stage, OURS, plan.rows) as entrant, own.opened(entrant) as app:
        history.add(dsn_of(entrant.database), plan.replayed, SEED, history.DEAD)
        started = time.perf_counter()
        app.jobs.replay_many(queue=QUEUE)
        seconds = time.perf_counter() - started
        stored, sent = query(entrant.database, REPLAYED, {"queue": QUEUE})[0][0], stage.messages(QUEUE)
        if not stored == sent == plan.replayed:
            raise Failed(f"of {plan.replayed:,} dead letters {stored:,} were replayed, {sent:,} of those are sent")
    return {"per_second": plan.replayed / seconds}


MEASURE = Measure("replay", "dead letters a second replayed in bulk", contenders, run)
