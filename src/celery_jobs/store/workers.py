"""Worker rows: registering, heartbeats, and the one guarded step that declares a worker dead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, select, type_coerce, union_all, update

from celery_jobs.ids import new_id
from celery_jobs.states import Status
from celery_jobs.store import endings
from celery_jobs.store.attempts import UNCLAIMED
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now, seconds_until
from celery_jobs.store.planning import by_index
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.services import age_of
from celery_jobs.store.tables import Timestamp, jobs, to_be_killed, unsent_callback, workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, CompoundSelect
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = [
    "Pulse",
    "bury",
    "dead",
    "declare_dead",
    "forget",
    "heartbeat",
    "held",
    "leaseless",
    "leases_run_out",
    "live_queues",
    "name_for",
    "register",
    "running",
    "terminating",
]


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat brings back for the worker's threads, so that none of them asks for itself.

    `clock_ahead`: seconds that this process's wall clock is ahead of the database's, below 0: behind;
    `callback_in`: seconds until a callback is due, below 0: it is, None: there is none;
    `ages`: seconds since each service last ran, infinite where it never did, or has not come to its end.
    """

    clock_ahead: float
    callback_in: float | None
    ages: dict[str, float]


def register(db: Database, hostname: str, pid: int, queues: Sequence[str]) -> str:
    """Make a worker's row and give its id."""
    worker = new_id()

    def transition(connection: Connection) -> str:
        connection.execute(
            workers.insert().values(
                id=worker,
                hostname=hostname,
                pid=pid,
                queues=list(queues),
                started_at=now(),
                heartbeat_at=now(),
            )
        )
        return worker

    return db.run(transition)


def heartbeat(db: Database, worker: str, queues: Sequence[str], services: Sequence[str] = ()) -> Pulse | None:
    """Say that the worker lives, in one statement; None where it has been declared dead and must register anew.

    `services`: names of those whose ages are to be told.
    """
    statement = _heartbeat(tuple(services))
    asked = datetime.now(UTC)
    beat = db.run(lambda connection: statement.first(connection, {"by": worker, "consumed": list(queues)}), alone=True)
    if beat is None:
        return None
    ages = (beat[f"age_{n}"] for n in range(len(services)))
    known = {name: math.inf if age is None else age for name, age in zip(services, ages, strict=True)}
    return Pulse(_ahead(asked, beat["moment"], datetime.now(UTC)), beat["callback_in"], known)


@cache
def _heartbeat(services: tuple[str, ...]) -> Prepared:
    callback_in = select(seconds_until(func.min(jobs.c.callback_at))).where(unsent_callback).scalar_subquery()
    statement = (
        update(workers)
        .where(workers.c.id == bindparam("by", type_=workers.c.id.type), workers.c.dead_at.is_(None))
        .values(heartbeat_at=now(), queues=bindparam("consumed", type_=workers.c.queues.type))
        .returning(
            type_coerce(now(), Timestamp).label("moment"),
            callback_in.label("callback_in"),
            *(age_of(name).label(f"age_{n}") for n, name in enumerate(services)),
        )
    )
    return Prepared(lambda is_sqlite: statement)


def _ahead(asked: datetime, theirs: datetime, answered: datetime) -> float:
    """Seconds by the clock of who asked: at least so many.

    Clocks that agree as far as an answer can tell are the same, and moments are left as they are.
    """
    return (min(max(theirs, asked), answered) - theirs).total_seconds()


def declare_dead(db: Database, silence: float) -> list[str]:
    """Declare dead every worker silent for `silence` seconds, and give all dead ones that still hold jobs.

    Infinite silence declares nobody. One guarded step before any job is touched: a heartbeat that commits first wins.
    """

    def transition(connection: Connection) -> list[str]:
        if silence < math.inf:
            connection.execute(
                update(workers)
                .where(workers.c.dead_at.is_(None), workers.c.heartbeat_at < now(-silence))
                .values(dead_at=now())
            )
        return [row.id for row in connection.execute(_dead)]

    return db.run(transition, point="declare_dead")


_dead = select(workers.c.id).where(workers.c.dead_at.is_not(None))


def dead(db: Database) -> set[str]:
    """Ids of the workers that have been declared dead and still hold jobs."""
    with db.asking() as connection:
        return {row.id for row in connection.execute(_dead)}


def name_for(db: Database, worker: str | None) -> str | None:
    """The Celery name of a worker, or of another that lives where it is no longer known; None where nobody lives."""
    query = (
        select(workers.c.hostname)
        .where((workers.c.id == worker) | workers.c.dead_at.is_(None))
        .order_by((workers.c.id == worker).desc(), workers.c.heartbeat_at.desc())
        .limit(1)
    )
    with db.asking() as connection:
        return connection.execute(query).scalar()


def held(*columns: Any, where: Sequence[ColumnElement[bool]]) -> CompoundSelect[Any]:
    """These columns of the jobs that are claimed. What waits in SQL for its time is passed over, in the index.

    What was claimed unsent, by a message that was not to come any more, was due at least; or an outside worker has it.
    """
    claimed = select(*columns).where(jobs.c.finished_at.is_(None), jobs.c.status == Status.PROCESSING, *where)
    due = (jobs.c.sent_at.is_(None), jobs.c.scheduled_at <= asked_at(), jobs.c.task.is_not(None))
    unsent = claimed.where(*due, jobs.c.waits_for.is_(None))
    outside = claimed.where(jobs.c.claimed_by.is_not(None))
    return union_all(claimed.where(jobs.c.sent_at.is_not(None)), unsent, outside)


def running(db: Database, worker: str, limit: int) -> list[str]:
    """Ids of the jobs that a worker holds."""
    query = held(jobs.c.id, where=[jobs.c.worker == worker]).limit(limit)
    with db.reading() as connection:
        by_index(connection)
        return [row.id for row in connection.execute(query)]


def terminating(db: Database, worker: str) -> set[str]:
    """The lease tokens of what a worker runs and somebody wants killed (semantics.md section 10)."""
    query = select(jobs.c.lease_token).where(to_be_killed, jobs.c.status == Status.PROCESSING, jobs.c.worker == worker)
    with db.asking() as connection:
        return set(connection.execute(query).scalars())


def leases_run_out(db: Database, limit: int) -> list[tuple[str, str]]:
    """Ids and lease tokens of processing jobs whose lease is over and whose worker nobody knows to live."""
    with db.reading() as connection:
        by_index(connection)
        return [(row.id, row.lease_token) for row in connection.execute(leaseless().limit(limit))]


def leaseless() -> CompoundSelect[Any]:
    """Ids and lease tokens of such jobs."""
    alive = select(workers.c.id).where(workers.c.dead_at.is_(None))
    nobodys = jobs.c.worker.is_(None) | jobs.c.worker.not_in(alive)
    return held(jobs.c.id, jobs.c.lease_token, where=[jobs.c.lease_expires_at < asked_at(), nobodys])


def forget(db: Database, worker: str) -> list[str]:
    """Give back, unburnt, what a stopped worker still holds, and delete its row; gives the ids of the jobs."""
    return db.run(partial(_forget, worker))


def _forget(worker: str, connection: Connection) -> list[str]:
    by_index(connection)
    its = (jobs.c.status == Status.PROCESSING, jobs.c.worker == worker)
    found = jobs.c.id.in_(connection.execute(held(jobs.c.id, where=its)).scalars().all())
    unasked = update(jobs).where(found, *its, jobs.c.cancel_requested_at.is_(None))
    ids = list(connection.execute(unasked.values(**UNCLAIMED).returning(jobs.c.id)).scalars())
    # What is left was asked to stop, maybe just now: it ends here.
    for row in connection.execute(select(jobs.c.id, jobs.c.lease_token).where(found, *its)).all():
        endings.release_in(connection, row.id, row.lease_token)
    connection.execute(delete(workers).where(workers.c.id == worker))
    return ids


def bury(db: Database, worker: str, silence: float) -> None:
    """Delete the row of a worker that was declared dead `silence` seconds ago and holds nothing any more."""
    statement = delete(workers).where(workers.c.id == worker, workers.c.dead_at < now(-silence))
    db.run(lambda connection: connection.execute(statement))


def live_queues(db: Database) -> set[str]:
    """Names of the queues that a living worker of ours consumes."""
    query = select(workers.c.queues).where(workers.c.dead_at.is_(None))
    with db.asking() as connection:
        return {name for row in connection.execute(query) for name in row.queues}
