"""Draining a backlog beside ten thousand jobs that wait for one key: does what waits slow the others?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import draining, own
from benchmarks.contenders import OURS
from benchmarks.entrant import entered
from benchmarks.measure import Figures, Measure
from benchmarks.promoter import BATCH
from benchmarks.stage import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.entrant import Entrant
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["CROWDED", "PLAIN", "WAITING", "run"]

PLAIN, CROWDED = "nothing waits", "10,000 wait for a key"
WAITING = 10_000
KEY = "crowded"

WAIT = (
    f"UPDATE jobs SET scheduled_at = now(), waits_for = 'key:{KEY}'"
    f" WHERE concurrency_key = '{KEY}' AND finished_at IS NULL AND id <> (SELECT min(id::text)::uuid FROM jobs"
    f" WHERE concurrency_key = '{KEY}')"
)
RUN = (
    "UPDATE jobs SET status = 'processing', scheduled_at = now(), sent_at = now(), started_at = now(),"
    " worker = id, lease_token = id, lease_expires_at = now() + interval '1 day'"
    f" WHERE concurrency_key = '{KEY}' AND finished_at IS NULL AND waits_for IS NULL"
)
PLACE = (
    f"INSERT INTO places (limit_name, job_id, lease_token) SELECT 'key:{KEY}', id, id FROM jobs"
    f" WHERE concurrency_key = '{KEY}' AND status = 'processing'"
)


def contenders(plan: Plan) -> Sequence[str]:
    """Ours without them, and with them."""
    return (PLAIN, CROWDED)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Fill, have them wait or not, start the workers, and time the last nine tenths."""
    with entered(stage, OURS, plan.rows) as entrant:
        if contender == CROWDED:
            crowd(entrant)
        draining.fill(entrant, plan.drained)
        with entrant.working():
            rate = draining.drain(entrant, plan.drained, plan.patience)
    return {"per_second": rate}


def crowd(entrant: Entrant) -> None:
    """One job of a key runs, for ever, and all others wait for its place."""
    with own.opened(entrant) as app:
        for _ in range(0, WAITING, BATCH):
            app.jobs.enqueue_many([{"task": "noop"}] * BATCH, countdown=3600, concurrency_key=KEY)
    for statement in (WAIT, RUN, PLACE):
        query(entrant.database, statement)


MEASURE = Measure("limits", "tasks a second beside jobs that wait for a place", contenders, run)
