"""Jobs produced and drained at full speed while somebody keeps a snapshot of the database open."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg

from benchmarks import draining
from benchmarks.contenders import OURS
from benchmarks.entrant import Failed, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import dsn_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

BEFORE, PINNED = "before", "pinned"
AHEAD = 1_000
"""Jobs that wait at any time: the producer fills up what the worker takes."""
LAST_PART = 0.25
"""Of the time: when the snapshot is oldest."""


def contenders(plan: Plan) -> Sequence[str]:
    """The same load for a while without a snapshot, and with one."""
    return (BEFORE, PINNED)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Produce and drain, and time the last part."""
    part = plan.pinned * LAST_PART
    with (
        stage.copy_of(stage.database_with(plan.rows)) as database,
        entered(stage, OURS, 0, database) as entrant,
        ExitStack() as stack,
    ):
        stack.enter_context(entrant.producing("feed", AHEAD))
        stack.enter_context(entrant.working())
        entrant.require_runs(AHEAD)
        if contender == PINNED:
            stack.enter_context(pinned(database))
        time.sleep(plan.pinned if contender == PINNED else part)
        end = time.monotonic()
        return {"per_second": draining.rate_between(entrant, end - part, end), "runs": entrant.runs}


@contextmanager
def pinned(database: str) -> Iterator[None]:
    """Hold a snapshot as a long report does: nothing that dies meanwhile can be vacuumed. Raises Failed."""
    with psycopg.connect(dsn_of(database)) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        look = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
        seen = connection.execute(look).fetchone()
        yield
        if connection.execute(look).fetchone() != seen:
            raise Failed("the snapshot was not held")


MEASURE = Measure("snapshot", "tasks a second, a snapshot pinned open", contenders, run, long=True)
