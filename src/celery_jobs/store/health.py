"""What the doctor asks of the jobs: who works, what waits in vain, what nobody was told.

Each reads a partial index, of what is live, and counts at most `MOST` rows: history costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from celery_jobs.states import FailureReason
from celery_jobs.store.clock import asked_at
from celery_jobs.store.new_rows import is_paused
from celery_jobs.store.planning import by_index
from celery_jobs.store.queue_names import queue_names
from celery_jobs.store.sends import of_celery, unexpired, waiting
from celery_jobs.store.tables import jobs, workers
from celery_jobs.store.workers import held

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement

    from celery_jobs.store.db import Database

__all__ = ["LiveWorker", "held_by_dead", "live_workers", "refused", "unserved", "untold", "used_up"]

MOST = 10_000

_due = and_(waiting, unexpired, of_celery, jobs.c.scheduled_at <= asked_at(), ~is_paused(jobs.c.queue, asked_at))


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker whose heartbeat is young."""

    hostname: str
    queues: tuple[str, ...]


def live_workers(db: Database, silence: float) -> list[LiveWorker]:
    """The workers heard of within `silence` seconds, also where nobody declares the others dead."""
    query = select(workers.c.hostname, workers.c.queues).where(
        workers.c.dead_at.is_(None), workers.c.heartbeat_at >= asked_at(-silence)
    )
    with db.asking() as connection:
        return [LiveWorker(row.hostname, tuple(row.queues)) for row in connection.execute(query)]


def unserved(db: Database, served: Collection[str]) -> dict[str, int]:
    """How many jobs are due in each queue that is neither `served` nor paused."""
    names = queue_names(jobs.c.finished_at.is_(None))
    others = select(names.c.name).where(names.c.name.not_in(served))
    return _count(db, jobs.c.queue, _due, jobs.c.queue.in_(others))


def used_up(db: Database, max_sends: int) -> dict[str, int]:
    """How many due jobs of each queue were sent `max_sends` times and not claimed: nobody sends them again."""
    return _count(db, jobs.c.queue, _due, jobs.c.sent_at.is_not(None), jobs.c.send_count >= max_sends)


def refused(db: Database) -> dict[str, int]:
    """How many pending jobs of each task a worker could not run."""
    reasons = (FailureReason.UNKNOWN_TASK, FailureReason.UNDECODABLE)
    return _count(db, jobs.c.task, waiting, jobs.c.failure_reason.in_(reasons))


def held_by_dead(db: Database) -> dict[str, int]:
    """How many jobs each worker holds that was declared dead."""
    dead = select(workers.c.id).where(workers.c.dead_at.is_not(None))
    theirs = held(jobs.c.worker, where=[jobs.c.worker.in_(dead)]).subquery()
    return _count(db, workers.c.hostname, workers.c.id == theirs.c.worker)


def untold(db: Database, seconds: float) -> int:
    """How many ends Celery has not heard of for so many seconds."""
    some = select(jobs.c.id).where(jobs.c.untold_at < asked_at(-seconds)).limit(MOST).subquery()
    with db.asking() as connection:
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _count(db: Database, by: Any, *conditions: ColumnElement[bool]) -> dict[str, int]:
    some = select(func.coalesce(by, "").label("name")).where(*conditions).limit(MOST).subquery()
    query = select(some.c.name, func.count().label("number")).group_by(some.c.name).order_by(some.c.name)
    with db.reading() as connection:
        by_index(connection)
        return {row.name: row.number for row in connection.execute(query)}
