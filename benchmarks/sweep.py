"""Draining a backlog while old rows are swept away, against a quiet database with the same rows.

`sweeping` is what beat's ticks begin and the worker goes on with; `by hand` is `celery jobs sweep` beside it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks import draining, history, own, tally
from benchmarks.contenders import OURS
from benchmarks.entrant import Failed, await_until, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import query
from celery_jobs.beat import beat_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Begin = Callable[[], Callable[[], bool]]
    """Lets a sweep begin, if it has not yet; gives what tells whether it is over."""

    from benchmarks.entrant import Entrant
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

QUIET, SWEEPING, BY_HAND = "quiet", "sweeping", "sweeping, by hand"
SWEEPERS = ("dead-letter-sweeper", "history-sweeper")
ROWS_A_JOB, LEAST = 10, 5
"""Old rows for each job of the backlog; never fewer jobs than so many usual backlogs."""
PATIENCE = 3600.0
FOLLOWS = 90.0
"""Seconds within which a worker goes on with what a tick has begun: a heartbeat, and the grace of who began it."""
LOOKS = 1.0
"""Seconds between two looks: each is a new connection, and fifty a second would cost more than the sweep."""

JUST_SWEPT = """
INSERT INTO services (name, ran_at, handled) SELECT unnest(%(names)s::text[]), now() - interval '5 s', 0
"""
UNFINISHED = "SELECT count(*) FROM services WHERE name = ANY(%(names)s) AND handled IS NULL"
SLICE = "SELECT max(ran_at) FROM services WHERE name = ANY(%(names)s) AND handled IS NULL"
LEFT = "SELECT count(*) FROM jobs WHERE queue <> 'celery'"
"""What is left of the old rows: no job of the history is in the backlog's queue."""


def contenders(plan: Plan) -> Sequence[str]:
    """The same worker, three times."""
    return (QUIET, SWEEPING, BY_HAND)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Start the workers, begin to sweep, fill, and time until the rows or the jobs have come to their end.

    A sweep in slices has begun when a worker goes on with it: the ticks' own slices are over by then.
    """
    old, backlog = stage.database_with(plan.swept, history.OLD), max(LEAST * plan.drained, plan.swept // ROWS_A_JOB)
    with stage.copy_of(old) as database, entered(stage, OURS, 0, database) as entrant:
        # Or the worker would stand in at once for sweepers that have never run.
        query(database, JUST_SWEPT, {"names": list(SWEEPERS)})
        with entrant.working(), SWEEP[contender](entrant) as begin_to_sweep:
            draining.fill(entrant, backlog)
            entrant.require_runs(int(backlog * draining.WARM_UP))
            is_over, before, begin = begin_to_sweep(), _left(database), time.monotonic()
            await_until(lambda: is_over() or entrant.runs >= backlog, PATIENCE, LOOKS)
            end = time.monotonic() if entrant.runs < backlog else tally.times(entrant.folder)[-1]
            swept = before - _left(database)
        if contender != QUIET and not swept:
            raise Failed("nothing was swept")
        rate = draining.rate_between(entrant, begin, end)
    return {
        "per_second": rate,
        "rows_swept": swept,
        "swept_per_second": swept / (end - begin),
    }


def _left(database: str) -> int:
    return int(query(database, LEFT)[0][0])


@contextmanager
def _nothing(entrant: Entrant) -> Iterator[Begin]:
    yield lambda: lambda: False


@contextmanager
def _ticks(entrant: Entrant) -> Iterator[Begin]:
    """Send what beat sends once a day, and wait until a worker goes on with what it began."""
    names = {"names": list(SWEEPERS)}
    with own.opened(entrant) as app:
        for name, entry in beat_schedule(app.plugin.settings).items():
            if name.endswith(SWEEPERS):
                app.plugin.app.send_task(entry["task"], **entry["options"])
    slices: set[object] = set()

    def goes_on() -> bool:
        slices.add(query(entrant.database, SLICE, names)[0][0])
        return len(slices - {None}) > len(SWEEPERS)  # whose ticks are a slice each

    if not await_until(goes_on, FOLLOWS, LOOKS):
        raise Failed("no worker goes on with the sweep that a tick began")
    yield lambda: lambda: int(query(entrant.database, UNFINISHED, names)[0][0]) == 0


@contextmanager
def _command(entrant: Entrant) -> Iterator[Begin]:
    with ExitStack() as stack:

        def begin() -> Callable[[], bool]:
            process = stack.enter_context(entrant.process(*own.COMMAND, "jobs", "sweep"))
            return lambda: process.poll() is not None

        yield begin


SWEEP = {QUIET: _nothing, SWEEPING: _ticks, BY_HAND: _command}

MEASURE = Measure("sweep", "tasks a second while old rows are deleted", contenders, run, long=True)
