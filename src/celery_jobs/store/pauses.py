"""Pauses of queues: written here, judged in every claim and every send (semantics.md section 10)."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, delete, func, select, text

from celery_jobs.moments import plain
from celery_jobs.states import Status
from celery_jobs.store.db import insert_into, now
from celery_jobs.store.new_rows import in_force
from celery_jobs.store.queue_names import queue_names
from celery_jobs.store.reads import database_time
from celery_jobs.store.tables import Timestamp, dead, jobs, queues, workers

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Pause", "known_queues", "pause", "resume", "running"]

LONGEST_CLAIM = 2.0
"""Seconds that a pause waits for claims that had begun before it."""

LOOK_PAUSE = 0.005
"""Seconds between two looks at them."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue that is paused, since when, until when (None: until it is resumed), by whom and why."""

    queue: str
    paused_at: datetime
    paused_until: datetime | None
    paused_by: str | None
    paused_reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {name: plain(value) for name, value in asdict(self).items()}


def pause(db: Database, queue: str, until: datetime | float | None, by: str | None, reason: str | None) -> Pause:
    """Pause a queue, or say anew until when, by whom and why; `until`: a moment, or seconds from now.

    Once it returns no claim of the queue's jobs succeeds: those that had begun before have ended.
    """
    made = db.run(partial(_pause, queue, until, {"paused_by": by, "paused_reason": reason}, db.is_sqlite))
    if not db.is_sqlite:
        _await_claims(db)
    return made


_is_over = ~in_force()


def _pause(
    queue: str, until: datetime | float | None, given: dict[str, Any], is_sqlite: bool, connection: Connection
) -> Pause:
    given = {**given, "paused_until": now(until) if isinstance(until, int | float) else until}
    since = case((_is_over, now()), else_=queues.c.paused_at)
    statement = insert_into(queues, is_sqlite).values(name=queue, paused_at=now(), **given)
    statement = statement.on_conflict_do_update(index_elements=[queues.c.name], set_={**given, "paused_at": since})
    row = connection.execute(statement.returning(*(queues.c[name] for name in _COLUMNS))).one()
    return Pause(*row)


_COLUMNS = ("name", "paused_at", "paused_until", "paused_by", "paused_reason")


def _await_claims(db: Database) -> None:
    """Wait for the updates of jobs that began before the pause was there: they have not seen it."""
    moment, until = database_time(db), time.monotonic() + LONGEST_CLAIM
    while _are_updated_since(db, moment) and time.monotonic() < until:
        time.sleep(LOOK_PAUSE)


def _are_updated_since(db: Database, moment: datetime) -> bool:
    with db.asking() as connection:
        return bool(connection.execute(_older_updates, {"moment": moment}).scalar_one())


_older_updates = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND ((state = 'active' AND query_start <= :moment AND query ILIKE 'update jobs%')"
    # An outside worker's claim is a transaction, which has written; a caller's own that has enqueued claims nothing.
    # So is one of a job with limits, whose last statement notes its place or its start.
    " OR (backend_xid IS NOT NULL AND xact_start <= :moment"
    " AND (query ILIKE '%jobs%' AND query NOT ILIKE 'insert%'"
    " OR query ILIKE '%into places%' OR query ILIKE '%into starts%'))))"
).bindparams(bindparam("moment", type_=Timestamp))


def resume(db: Database, queue: str) -> bool:
    """End the pause of a queue; False where it was not paused."""

    def transition(connection: Connection) -> bool:
        over = connection.execute(select(_is_over).where(queues.c.name == queue).with_for_update()).scalar()
        connection.execute(delete(queues).where(queues.c.name == queue))
        return over is not None and not over

    return db.run(transition)


def running(db: Database, queue: str) -> int:
    """How many jobs of a queue are being run."""
    query = select(func.count()).where(
        jobs.c.queue == queue, jobs.c.finished_at.is_(None), jobs.c.status == Status.PROCESSING
    )
    with db.asking() as connection:
        return int(connection.execute(query).scalar_one())


def known_queues(db: Database) -> set[str]:
    """Names of the queues that hold live jobs or dead letters, are paused, or have a worker."""
    live, letters = queue_names(jobs.c.finished_at.is_(None)), queue_names(dead)
    found: set[str] = set()
    for query in (select(live.c.name), select(letters.c.name), select(queues.c.name)):
        with db.asking() as connection:
            found.update(connection.execute(query).scalars())
    with db.asking() as connection:
        for names in connection.execute(select(workers.c.queues).where(workers.c.dead_at.is_(None))).scalars():
            found.update(names)
    return found
