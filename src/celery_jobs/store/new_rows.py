"""The row of a new job: what is given of it, and what the database adds, whose clock and pauses judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Float, Text, and_, case, cast, exists, null, or_

from celery_jobs.states import Status
from celery_jobs.store.clock import now
from celery_jobs.store.rows import NewJob
from celery_jobs.store.tables import Timestamp, jobs, queues

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement

    from celery_jobs.store.clock import asked_at

__all__ = ["GIVEN", "MADE", "due_at", "in_force", "is_paused", "row_values", "timing", "values_of"]

SEND_AT_ONCE = 60
"""Seconds; what is due sooner is sent to the broker at once (semantics.md section 5)."""


def is_paused(queue: ColumnElement[str], clock: type[asked_at] | type[now] = now) -> ColumnElement[bool]:
    """Whether the queue is paused now. `clock`: `asked_at` where jobs are searched for."""
    return exists().where(queues.c.name == queue, in_force(clock))


def in_force(clock: type[asked_at] | type[now] = now) -> ColumnElement[bool]:
    """Whether a row of `queues` says a pause that is not over."""
    return and_(queues.c.paused_at.is_not(None), or_(queues.c.paused_until.is_(None), queues.c.paused_until > clock()))


def due_at() -> ColumnElement[Any]:
    """When a job is due; NULL where it is due already."""
    return case((jobs.c.scheduled_at > now(), jobs.c.scheduled_at))


def timing(due: ColumnElement[Any], queue: ColumnElement[str], *conditions: ColumnElement[bool]) -> dict[str, Any]:
    """The times of a new row; it is sent at once where it is due soon, no pause holds it and the conditions are met."""
    soon = and_(*conditions, due <= now(SEND_AT_ONCE), ~is_paused(queue))
    return {
        "created_at": now(),
        "scheduled_at": due,
        "sent_at": case((soon, now()), else_=null()),
        "send_count": case((soon, 1), else_=0),
    }


def _due(moment: ColumnElement[Any] | None, delay: ColumnElement[Any] | float) -> ColumnElement[Any]:
    """When a job is due: at its moment, now if that has passed, or after its delay."""
    if moment is None:
        return now(delay)
    return case((moment > now(), moment), (moment.is_not(None), now()), else_=now(delay))


_STORED = [name for name in NewJob.__slots__ if name in jobs.c and name != "scheduled_at"]
MADE = (jobs.c.id, jobs.c.task_id, jobs.c.sent_at, jobs.c.expires_at, due_at().label("due_at"))


def row_values(given: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The columns of a new row out of what is given of it, by name and type: see `values_of`."""
    column = {name: given(name, kind) for name, kind in GIVEN.items()}
    due, stays, kept = _due(column["due_at"], column["delay"]), column["expires_in"], column["key_ttl"]
    return {
        **{name: column[name] for name in (*_STORED, *_OF_ORIGINALS)},
        "expires_at": case((cast(stays, Float).is_not(None), now(stays)), else_=column["expires_at"]),
        "key_expires_at": case((cast(kept, Float).is_not(None), now(kept)), else_=column["key_expires_at"]),
        **timing(due, column["of_queue"], column["send"]),
    }


_OF_ORIGINALS = ("original_id", "message_id", "status", "reuse")


GIVEN: dict[str, Any] = {
    **{name: jobs.c[name].type for name in (*_STORED, *_OF_ORIGINALS)},
    **{
        "due_at": Timestamp(),
        "delay": Float(),
        "expires_in": Float(),
        "key_ttl": Float(),
        "send": Boolean(),
        "of_queue": Text(),
    },
}
"""What is given of a new row, by name: its type."""


def values_of(new: NewJob, reuse: int = 0) -> dict[str, Any]:
    """What is given of a new job's row. `reuse`: how many chains of its task id have ended."""
    values = {name: getattr(new, name) for name in _STORED}
    values.update(original_id=new.id, message_id=new.message.id, status=Status.PENDING, reuse=reuse)
    values.update(due_at=new.scheduled_at, delay=float(new.delay or 0), expires_in=new.expires_in)
    values.update(key_ttl=new.idempotency_ttl)
    values.update(send=new.send and new.task is not None, of_queue=new.queue)  # who has no task is never sent
    return values
