"""Recording a new job: insert it, or return the one that is already there. The unique indexes decide races."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, and_, case, cast, exists, extract, func, literal, null, or_, select

from celery_jobs.states import Status
from celery_jobs.store.db import now
from celery_jobs.store.rows import Enqueued, NewJob
from celery_jobs.store.tables import Timestamp, jobs, messages, queues

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection, Row

    from celery_jobs.store.db import Database

__all__ = ["SEND_AT_ONCE", "enqueue", "insert_job", "is_paused", "seconds_until"]

SEND_AT_ONCE = 60
"""Seconds; what is due sooner is sent to the broker at once (semantics.md section 5)."""

TRIES = 5


def enqueue(db: Database, new: NewJob) -> Enqueued:
    """Store a new chain, or find the one with its idempotency key or task id (semantics.md sections 4, 10)."""
    return db.run(partial(insert_job, db, new))


def insert_job(db: Database, new: NewJob, connection: Connection) -> Enqueued:
    """The same inside a transaction that the caller has opened."""
    reuse = 0
    for _ in range(TRIES):
        row = connection.execute(_insert(db, new, reuse)).first()
        if row is not None:
            connection.execute(messages.insert().values(asdict(new.message)))
            return Enqueued(new.id, new.task_id, row.sent_at, max(0.0, row.wait))
        found = _existing(new, connection)
        if isinstance(found, Enqueued):
            return found
        reuse = found
    raise RuntimeError(f"the job {new.id} could neither be inserted nor found")


def is_paused(queue: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the queue is paused now."""
    return exists().where(
        queues.c.name == queue,
        queues.c.paused_at.is_not(None),
        or_(queues.c.paused_until.is_(None), queues.c.paused_until > now()),
    )


def seconds_until(db: Database, moment: ColumnElement[Any]) -> ColumnElement[float]:
    """Seconds from the database's now to `moment`, below 0 when it has passed."""
    if db.is_sqlite:
        return cast((func.julianday(moment) - func.julianday(now())) * 86_400.0, Float)
    return cast(extract("epoch", moment - now()), Float)


def _insert(db: Database, new: NewJob, reuse: int) -> Any:
    due: ColumnElement[Any] = now(new.delay or 0) if new.scheduled_at is None else literal(new.scheduled_at, Timestamp)
    soon = and_(literal(new.send), due <= now(SEND_AT_ONCE), ~is_paused(literal(new.queue)))
    values = {
        **_columns(new),
        "reuse": reuse,
        "created_at": now(),
        "scheduled_at": due,
        "sent_at": case((soon, now()), else_=null()),
        "send_count": case((soon, 1), else_=0),
    }
    insert = db.insert(jobs).values(values).on_conflict_do_nothing()
    return insert.returning(jobs.c.sent_at, seconds_until(db, jobs.c.scheduled_at).label("wait"))


def _columns(new: NewJob) -> dict[str, Any]:
    values = {name: getattr(new, name) for name in NewJob.__slots__ if name in jobs.c and name not in ("scheduled_at",)}
    return {**values, "original_id": new.id, "message_id": new.message.id, "status": Status.PENDING}


def _existing(new: NewJob, connection: Connection) -> Enqueued | int:
    """The job that is already there, or the `reuse` number under which the task id begins a new chain."""
    mine = connection.execute(_known.where(jobs.c.id == new.id)).first()
    if mine is not None and mine.task_id == new.task_id and mine.body == new.message.body:
        # Our own insert, whose reply was lost: it is as it was made.
        return Enqueued(new.id, new.task_id, mine.sent_at)
    if new.idempotency_key is not None:
        owner = connection.execute(_owner_of_key(new)).first()
        if owner is not None:
            return _found(new, owner)
    newest = connection.execute(_newest_chain(new)).first()
    if newest is None:
        return 0
    if newest.ended_at is None or new.adopted or _published_again(new, newest):
        return _found(new, newest)
    return int(newest.reuse) + 1


_known = select(
    jobs.c.id,
    jobs.c.task_id,
    jobs.c.reuse,
    jobs.c.ended_at,
    jobs.c.sent_at,
    messages.c.body,
    messages.c.headers,
).join(messages, messages.c.id == jobs.c.message_id)


def _owner_of_key(new: NewJob) -> Any:
    return _known.where(
        jobs.c.idempotency_scope == new.idempotency_scope, jobs.c.idempotency_key == new.idempotency_key
    )


def _newest_chain(new: NewJob) -> Any:
    return (
        _known.where(jobs.c.task_id == new.task_id, jobs.c.nesting == new.nesting, jobs.c.attempt_number == 1)
        .order_by(jobs.c.reuse.desc())
        .limit(1)
    )


def _found(new: NewJob, row: Row[Any]) -> Enqueued:
    mismatch = bytes(row.body) != new.message.body
    return Enqueued(row.id, row.task_id, deduplicated=True, payload_mismatch=mismatch)


def _published_again(new: NewJob, row: Row[Any]) -> bool:
    """A canvas step that a re-run of its parent publishes again is the same job in any state."""
    if new.root_id is None or new.root_id == new.task_id:
        return False
    return bool(json.loads(row.headers).get("root_id") == new.root_id)
