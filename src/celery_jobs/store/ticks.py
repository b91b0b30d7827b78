"""When each of beat's entries last ticked: written with the tick's job, so that one tick makes one job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, or_, select, update

from celery_jobs.store.db import insert_into, now
from celery_jobs.store.enqueue import GRACE, insert_job
from celery_jobs.store.reads import clock
from celery_jobs.store.rows import Enqueued
from celery_jobs.store.tables import jobs, ticks

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import NewJob

__all__ = ["Beat", "enqueue"]

AHEAD = 60.0
"""Seconds that a beat's clock may be ahead of the database's; a last tick later than that was never one."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A tick of an entry, as beat says it.

    `due`: the due minute that is the latest at a moment, where the entry has due minutes; None: it is another tick than
    the last one when `gap` seconds have passed.
    """

    entry: str
    due: Callable[[datetime], datetime] | None
    gap: float
    said_at: datetime
    """The time of beat's own clock."""


def enqueue(db: Database, new: NewJob, beat: Beat) -> tuple[Enqueued, bool]:
    """Store the job of a tick, unless the tick has one; that job, and whether the tick was a new one."""
    return db.run(partial(_enqueue, db, new, beat), within=db.timeout * GRACE, point="enqueue")


def _enqueue(db: Database, new: NewJob, beat: Beat, connection: Connection) -> tuple[Enqueued, bool]:
    key = {"entry": beat.entry, "task": new.task}
    is_ours = (ticks.c.entry == beat.entry, ticks.c.task == new.task)
    values, guard = _of_a_minute(beat, connection) if beat.due else _of_an_interval(beat)
    statement = insert_into(ticks, db.is_sqlite).values(**key, ticked_at=now(), job_id=new.id, **values)
    upsert = statement.on_conflict_do_update(
        index_elements=["entry", "task"], set_={**values, "ticked_at": now(), "job_id": new.id}, where=guard
    )
    won = connection.execute(upsert.returning(ticks.c.job_id)).first() is not None
    # A try whose reply was lost has ticked already, and finds its own job.
    if not won and (job_id := connection.execute(select(ticks.c.job_id).where(*is_ours)).scalar_one()) != new.id:
        return _known(job_id, connection), False
    made = insert_job(db, new, connection)
    if made.job_id != new.id:
        connection.execute(update(ticks).where(*is_ours).values(job_id=made.job_id))
    return made, True


def _of_a_minute(beat: Beat, connection: Connection) -> tuple[dict[str, Any], ColumnElement[bool]]:
    assert beat.due is not None
    latest = connection.execute(clock).scalar_one() + timedelta(seconds=AHEAD)
    due_at = beat.due(min(beat.said_at, latest))
    return {"due_at": due_at}, or_(ticks.c.due_at < due_at, ticks.c.due_at > latest + timedelta(seconds=AHEAD))


def _of_an_interval(beat: Beat) -> tuple[dict[str, Any], ColumnElement[bool]]:
    return {"due_at": now()}, or_(ticks.c.ticked_at <= now(-beat.gap), ticks.c.ticked_at > now(AHEAD))


def _known(job_id: str, connection: Connection) -> Enqueued:
    """The job of a tick, as whoever has the tick too is told of it; it may be deleted by now."""
    row = connection.execute(select(jobs.c.task_id).where(jobs.c.id == job_id)).first()
    return Enqueued(job_id, job_id if row is None else row.task_id, deduplicated=True)
