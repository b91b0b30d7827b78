"""Draining a backlog while old rows are swept away, against a quiet database with the same rows.

`sweeping` is what beat's ticks do: they run in the worker's own children. `by hand` is `celery jobs sweep` beside it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks import draining, history, own, tally
from benchmarks.contenders import OURS
from benchmarks.entrant import Failed, await_until, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import query
from celery_jobs.beat import beat_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.entrant import Entrant
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

QUIET, SWEEPING, BY_HAND = "quiet", "sweeping", "sweeping, by hand"
SWEEPERS = ("dead-letter-sweeper", "history-sweeper")
ROWS_A_JOB, LEAST = 10, 3
"""Old rows for each job of the backlog, so that both last about as long; never fewer than so many usual backlogs."""
PATIENCE = 3600.0

JUST_SWEPT = "INSERT INTO services (name, ran_at) SELECT unnest(%(names)s::text[]), now() - interval '5 s'"
SWEPT = "SELECT count(*) FROM services WHERE name = ANY(%(names)s) AND handled > 0"
LEFT = "SELECT count(*) FROM jobs WHERE queue <> 'celery'"


def contenders(plan: Plan) -> Sequence[str]:
    """The same worker, three times."""
    return (QUIET, SWEEPING, BY_HAND)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Fill, start the workers, begin to sweep, and time until the rows or the jobs have come to their end."""
    old, backlog = stage.database_with(plan.swept, history.OLD), max(LEAST * plan.drained, plan.swept // ROWS_A_JOB)
    with stage.copy_of(old) as database, entered(stage, OURS, 0, database) as entrant:
        # Or the worker would stand in at once for sweepers that have never run.
        query(database, JUST_SWEPT, {"names": list(SWEEPERS)})
        draining.fill(entrant, backlog)
        with entrant.working():
            entrant.require_runs(int(backlog * draining.WARM_UP))
            begin = time.monotonic()
            with SWEEP[contender](entrant) as is_over:
                await_until(lambda: is_over() or entrant.runs >= backlog, PATIENCE)
                end = time.monotonic() if entrant.runs < backlog else tally.times(entrant.folder)[-1]
        left = int(query(database, LEFT)[0][0])
        if contender != QUIET and left == plan.swept:
            raise Failed("nothing was swept")
        rate = draining.rate_between(entrant, begin, end)
    return {
        "per_second": rate,
        "rows_swept": plan.swept - left,
        "swept_per_second": (plan.swept - left) / (end - begin),
    }


@contextmanager
def _nothing(entrant: Entrant) -> Iterator[Callable[[], bool]]:
    yield lambda: False


@contextmanager
def _ticks(entrant: Entrant) -> Iterator[Callable[[], bool]]:
    """Send what beat sends once a day."""
    with own.opened(entrant) as app:
        for name, entry in beat_schedule(app.plugin.settings).items():
            if name.endswith(SWEEPERS):
                app.plugin.app.send_task(entry["task"], **entry["options"])

        def is_over() -> bool:
            return int(query(entrant.database, SWEPT, {"names": list(SWEEPERS)})[0][0]) == len(SWEEPERS)

        yield is_over


@contextmanager
def _command(entrant: Entrant) -> Iterator[Callable[[], bool]]:
    with entrant.process(*own.COMMAND, "jobs", "sweep") as process:
        yield lambda: process.poll() is not None


SWEEP = {QUIET: _nothing, SWEEPING: _ticks, BY_HAND: _command}

MEASURE = Measure("sweep", "tasks a second while old rows are deleted", contenders, run, long=True)
