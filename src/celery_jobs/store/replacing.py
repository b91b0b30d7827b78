"""Replacing a job that still waits for its first attempt: the same job, with what a later enqueue of its key gives it.

One update, guarded as a claim is: whoever comes first wins the row, so that what was replaced has run or has not. The
row's `edition` grows, and messages of an older one claim nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, literal, select, update

from celery_jobs.states import Status
from celery_jobs.store.db import now
from celery_jobs.store.new_rows import MADE, row_values, values_of
from celery_jobs.store.rows import Enqueued
from celery_jobs.store.tables import jobs, messages

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.rows import Message, NewJob

__all__ = ["replace_waiting"]

_GIVEN = (
    *("queue", "priority", "tags", "expires_at", "scheduled_at", "sent_at", "send_count", "message_id"),
    *("max_attempts", "retries_enabled", "retry_policy", "concurrency_key", "concurrency_limit", "callback_url"),
)
"""Columns that a replacement says anew; ids, key and `created_at` stay."""

MOST_EDITIONS = 32_767
"""That the column counts; messages that are so many replacements old are long gone."""


def replace_waiting(new: NewJob, owner: str, connection: Connection) -> Enqueued | None:
    """Give a job that waits, unclaimed, what is given of a new one; None where it is not to be replaced.

    A repetition after a lost reply finds what it has made.
    """
    row = connection.execute(_of(owner).with_for_update(of=jobs)).first()
    if row is None or row.task != new.task or json.loads(row.headers).get("group"):
        return None  # of a group others count on what was enqueued
    if row.message_id != new.message.id and not _replace(new, row, connection):
        return None
    made = connection.execute(select(*MADE).where(jobs.c.id == owner)).one()
    return Enqueued(owner, made.task_id, made.sent_at, made.due_at, made.expires_at, deduplicated=True, replaced=True)


def _of(owner: str) -> Any:
    query = select(jobs.c.id, jobs.c.task, jobs.c.task_id, jobs.c.message_id, messages.c.headers)
    return query.join(messages, messages.c.id == jobs.c.message_id).where(jobs.c.id == owner)


def _replace(new: NewJob, row: Any, connection: Connection) -> bool:
    given = values_of(new)
    values = row_values(lambda name, kind: literal(given[name], kind))
    kept = {"key_expires_at": values["key_expires_at"]} if new.idempotency_ttl is not None else {}
    waits = (jobs.c.status == Status.PENDING, jobs.c.attempt_number == 1, jobs.c.losses == 0)
    done = connection.execute(
        update(jobs)
        .where(jobs.c.id == row.id, *waits, jobs.c.cancel_requested_at.is_(None))
        .values(
            **{name: values[name] for name in _GIVEN},
            **kept,
            edition=case((jobs.c.edition < MOST_EDITIONS, jobs.c.edition + 1), else_=1),
            replaced_at=now(),
            waits_for=None,
            # Of a worker that did not know the task.
            failure_reason=None,
            error_message=None,
        )
    )
    if done.rowcount != 1:
        return False
    connection.execute(messages.insert().values(asdict(_under(row.task_id, new))))
    connection.execute(delete(messages).where(messages.c.id == row.message_id))
    return True


def _under(task_id: str, new: NewJob) -> Message:
    """The new message, under the Celery id that callers wait for."""
    headers, properties = json.loads(new.message.headers), json.loads(new.message.properties)
    for name in ("id", "root_id"):
        if headers.get(name) == new.task_id:
            headers[name] = task_id
    if "correlation_id" in properties:
        properties["correlation_id"] = task_id
    return replace(new.message, headers=json.dumps(headers), properties=json.dumps(properties))
