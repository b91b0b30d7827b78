"""Enqueueing a payload to a pull queue: a row, and never a message (semantics.md sections 4 and 10)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import LONGEST_WAIT, InvalidJob
from celery_jobs.ids import new_id
from celery_jobs.options import refuse_unknown, take_moment, take_options
from celery_jobs.payload import payload_message
from celery_jobs.recording import said_of
from celery_jobs.replaced import tell_enqueued
from celery_jobs.store.rows import NewJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued

__all__ = ["enqueue", "make", "require_pull"]

_KNOWN = frozenset(
    [
        *("delay", "scheduled_at", "run_at", "expires", "priority", "tags", "callback_url", "session"),
        *("idempotency_key", "idempotency_scope", "idempotency_ttl", "on_conflict"),
        *("max_attempts", "max_retries", "retry_delays", "retry_policy", "concurrency_key", "concurrency_limit"),
    ]
)


def enqueue(plugin: Plugin, queue: str, payload: Any, options: Mapping[str, Any]) -> Enqueued:
    """Store the job of a payload, or find the one with its key; raises InvalidJob before anything is written."""
    from celery_jobs.store import enqueue as store

    require_pull(plugin, queue)
    job, session = make(plugin, queue, payload, options)
    if session is None:
        enqueued = store.enqueue(plugin.db, job)
        tell_enqueued(job, enqueued)
        return enqueued
    db = plugin.db_beside(session)
    (enqueued,) = store.enqueue_in(db, session, [job], follow=lambda made: tell_enqueued(job, made[0]))
    return enqueued


def require_pull(plugin: Plugin, queue: Any) -> None:
    """Raise InvalidJob for a queue that is not outside workers'."""
    if not isinstance(queue, str) or not plugin.settings.queue(queue).is_pull:
        raise InvalidJob(
            "queue",
            f"{queue!r} is no queue of outside workers; say mode 'pull' of it in jobs_queues, "
            "or enqueue a task, which workers of Celery run",
        )


def make(plugin: Plugin, queue: str, payload: Any, given: Mapping[str, Any]) -> tuple[NewJob, Any]:
    """The first attempt of a chain, and the transaction of the caller's own that it is part of; raises InvalidJob."""
    refuse_unknown(given, _KNOWN)
    ours = {name: value for name, value in given.items() if name not in ("priority", "expires")}
    ours["job_priority"] = given.get("priority")
    options = take_options(ours)
    for name, value in ours.items():  # what is left to Celery
        raise InvalidJob(name, f"a policy, a list or an object with delays is expected, not {value!r}")
    job_id = new_id()
    values: dict[str, Any] = {
        **said_of(plugin, None, queue, options),
        "id": job_id,
        "task_id": job_id,
        "task": None,
        "queue": queue,
        "message": payload_message(queue, payload, plugin.settings.max_payload_bytes, plugin.sealer),
        "delay": options.delay,
        "scheduled_at": options.scheduled_at,
        "priority": options.job_priority or 0,
    }
    return NewJob(**values, **_expiry(given.get("expires"))), options.session


def _expiry(expires: Any) -> dict[str, Any]:
    """Seconds count by the database's clock."""
    if expires is None:
        return {}
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return {"expires_at": take_moment("expires", expires)}
    if not 0 < expires <= LONGEST_WAIT:
        raise InvalidJob("expires", f"seconds above 0, {LONGEST_WAIT:,} at most, or a moment, not {expires!r}")
    return {"expires_in": float(expires)}
