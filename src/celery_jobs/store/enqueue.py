"""Recording a new job: insert it, or return the one that is already there. The unique indexes decide races."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Float,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    null,
    or_,
    select,
)

from celery_jobs.states import Status
from celery_jobs.store.db import now
from celery_jobs.store.rows import Enqueued, NewJob
from celery_jobs.store.tables import Timestamp, jobs, messages, queues

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection, Row

    from celery_jobs.store.db import Database

__all__ = ["enqueue", "enqueue_all", "insert_job", "insert_jobs", "is_paused", "seconds_until", "timing"]

SEND_AT_ONCE = 60
"""Seconds; what is due sooner is sent to the broker at once (semantics.md section 5)."""

TRIES = 5

GRACE = 1.2
"""A database that is reached may take this much longer to answer: with the default of 2 s, 2.4 of the 3 s allowed."""


def enqueue(db: Database, new: NewJob, patient: bool = False) -> Enqueued:
    """Store a new chain, or find the one with its idempotency key or task id (semantics.md sections 4, 10).

    `patient`: wait for the database as long as it takes.
    """
    transition = partial(insert_job, db, new)
    if patient:
        return db.persist(transition, point="enqueue")
    return db.run(transition, within=db.timeout * GRACE, point="enqueue")


def enqueue_all(
    db: Database, new: Sequence[NewJob], accept: Callable[[NewJob, Enqueued], None] | None = None
) -> list[Enqueued]:
    """Store many new chains in one transaction, all or none; what each of them made or found, in their order.

    `accept(job, enqueued)` may refuse by raising, which undoes them all.
    """

    def transition(connection: Connection) -> list[Enqueued]:
        made = insert_jobs(db, new, connection)
        if accept is not None:
            for job, enqueued in zip(new, made, strict=True):
                accept(job, enqueued)
        return made

    return db.run(transition, point="enqueue")


def insert_jobs(db: Database, new: Sequence[NewJob], connection: Connection) -> list[Enqueued]:
    """The same inside a transaction that the caller has opened: a statement for many, then those that conflict."""
    if not new:
        return []
    rows = connection.execute(_insert_many(db), [_values_of(job) for job in new]).all()
    made = {row.id: Enqueued(row.id, row.task_id, row.sent_at, max(0.0, row.wait), row.expires_at) for row in rows}
    stored = [asdict(job.message) for job in new if job.id in made]
    if stored:
        connection.execute(messages.insert(), stored)
    return [made.get(job.id) or insert_job(db, job, connection) for job in new]


def insert_job(db: Database, new: NewJob, connection: Connection) -> Enqueued:
    """One job inside a transaction that the caller has opened."""
    reuse = 0
    for _ in range(TRIES):
        row = connection.execute(_insert(db, new, reuse)).first()
        if row is not None:
            connection.execute(messages.insert().values(asdict(new.message)))
            return Enqueued(new.id, new.task_id, row.sent_at, max(0.0, row.wait), row.expires_at)
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


def timing(due: ColumnElement[Any], queue: ColumnElement[str], *conditions: ColumnElement[bool]) -> dict[str, Any]:
    """The times of a new row; it is sent at once where it is due soon, no pause holds it and the conditions are met."""
    soon = and_(*conditions, due <= now(SEND_AT_ONCE), ~is_paused(queue))
    return {
        "created_at": now(),
        "scheduled_at": due,
        "sent_at": case((soon, now()), else_=null()),
        "send_count": case((soon, 1), else_=0),
    }


def _insert(db: Database, new: NewJob, reuse: int) -> Any:
    due = _due(None if new.scheduled_at is None else literal(new.scheduled_at, Timestamp), new.delay or 0)
    values = {**_columns(new), "reuse": reuse, **timing(due, literal(new.queue), literal(new.send))}
    if new.expires_in is not None:
        values["expires_at"] = now(new.expires_in)
    insert = db.insert(jobs).values(values).on_conflict_do_nothing()
    return insert.returning(jobs.c.sent_at, jobs.c.expires_at, seconds_until(db, jobs.c.scheduled_at).label("wait"))


def _due(moment: ColumnElement[Any] | None, delay: ColumnElement[Any] | float) -> ColumnElement[Any]:
    """When a job is due: at its moment, now if that has passed, or after its delay."""
    if moment is None:
        return now(delay)
    return case((moment > now(), moment), (moment.is_not(None), now()), else_=now(delay))


def _columns(new: NewJob) -> dict[str, Any]:
    values = {name: getattr(new, name) for name in _STORED}
    return {**values, "original_id": new.id, "message_id": new.message.id, "status": Status.PENDING}


_STORED = [name for name in NewJob.__slots__ if name in jobs.c and name != "scheduled_at"]


def _insert_many(db: Database) -> Any:
    """The insert of any number of jobs; each is judged due, near and unpaused by itself."""
    due = _due(bindparam("due_at", type_=Timestamp), bindparam("delay", type_=Float))
    stays, until = bindparam("expires_in", type_=Float), bindparam("expires_at", type_=Timestamp)
    values = {
        **{name: bindparam(name, type_=jobs.c[name].type) for name in (*_STORED, *_OF_ORIGINALS)},
        "expires_at": case((cast(stays, Float).is_not(None), now(stays)), else_=until),
        **timing(due, bindparam("of_queue", type_=Text), bindparam("send", type_=Boolean)),
    }
    insert = db.insert(jobs).values(values).on_conflict_do_nothing()
    wait = seconds_until(db, jobs.c.scheduled_at).label("wait")
    return insert.returning(jobs.c.id, jobs.c.task_id, jobs.c.sent_at, jobs.c.expires_at, wait)


_OF_ORIGINALS = ("original_id", "message_id", "status")


def _values_of(new: NewJob) -> dict[str, Any]:
    own = {"due_at": new.scheduled_at, "delay": float(new.delay or 0), "send": new.send, "of_queue": new.queue}
    return {**_columns(new), **own, "expires_in": new.expires_in}


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
