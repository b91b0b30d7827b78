"""What a worker and a beat ask of the database while there is nothing to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from benchmarks import counters, own
from benchmarks.contenders import OURS
from benchmarks.entrant import Failed, await_until, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

START_SECONDS = 60.0
HAVE_RUN = "SELECT count(*) = 5 FROM services WHERE handled IS NOT NULL"


def contenders(plan: Plan) -> Sequence[str]:
    """Ours."""
    return (OURS,)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Start a worker and a beat, let a job and each service run once, and count from then on."""
    with (
        stage.copy_of(stage.database_with(plan.rows)) as database,
        entered(stage, OURS, 0, database) as entrant,
        entrant.working(),
        entrant.process(*own.COMMAND, "beat", "--loglevel", "WARNING", "--pidfile=", "--schedule", "schedule"),
    ):
        entrant.program("send", 1)
        entrant.require_runs(1)
        if not await_until(lambda: query(database, HAVE_RUN)[0][0], START_SECONDS):
            raise Failed("not every service has run")
        name = str(make_url(database).database)
        counters.forget_statements(stage, name)
        time.sleep(plan.idle)
        every, proper = counters.statements(stage, name)
    return {"statements": 60 * every / plan.idle, "without_begin_and_commit": 60 * proper / plan.idle}


MEASURE = Measure(
    "idle", "statements a minute of an idle worker and beat", contenders, run, "statements", "/min", long=True
)
