"""Telling Celery of a verdict that was reached outside a worker's run: cancel, expiry, loss (semantics.md section 6).

After the commit, and again by a service where it was lost; telling twice is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from celery.exceptions import NotRegistered, TimeLimitExceeded, WorkerLostError
from kombu.serialization import loads, prepare_accept_content
from kombu.utils import json

from celery_jobs.envelope import decode_headers
from celery_jobs.events import emit
from celery_jobs.states import FailureReason, FinalStatus
from celery_jobs.store import endings, reads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Job, Message

__all__ = ["decode_body", "expire", "tell", "tell_untold"]


def expire(plugin: Plugin, job_id: str) -> bool:
    """Cancel a pending job whose `expires` has passed, and tell Celery."""
    ended = endings.expire(plugin.db, job_id)
    if not isinstance(ended, endings.Ended):
        return False
    tell(plugin, ended.original_id)
    return True


def tell_untold(plugin: Plugin, limit: int) -> int:
    """Tell Celery of the verdicts that it has not heard; gives how many there were."""
    untold = reads.untold(plugin.db, limit)
    for original_id in untold:
        tell(plugin, original_id)
    return len(untold)


def tell(plugin: Plugin, original_id: str) -> None:
    """Mark a chain's end in the result backend as a worker would: REVOKED, or FAILURE with errbacks."""
    attempts = reads.attempts(plugin.db, original_id)
    if not attempts:
        return
    last, original = attempts[-1], attempts[0]
    emit(f"job.{original.final_status}", last, error=last.error_message)
    message = reads.message_of(plugin.db, last.id)
    try:
        _mark(plugin, original, last, message)
    except Exception as error:
        # The result store or the broker is away: the row stays untold, and a service tells it later.
        emit("job.untold", last, error=repr(error))
        return
    endings.mark_told(plugin.db, original_id)


def _mark(plugin: Plugin, original: Job, last: Job, message: Message | None) -> None:
    task = plugin.app._tasks.get(last.task)
    backend = plugin.app.backend if task is None else task.backend
    context = _context(plugin, last, message)
    store = not getattr(context, "ignore_result", False)
    if original.final_status == FinalStatus.CANCELLED:
        reason = "expired" if last.failure_reason == FailureReason.EXPIRED else "revoked"
        backend.mark_as_revoked(last.task_id, reason, request=context, store_result=store)
    else:
        backend.mark_as_failure(last.task_id, _error(last), request=context, store_result=store)


def _context(plugin: Plugin, job: Job, message: Message | None) -> Context:
    """The request of a job as its worker would have had it."""
    if message is None:
        return Context({"id": job.task_id, "task": job.task})
    properties: dict[str, Any] = json.loads(message.properties)
    try:
        args, kwargs, embed = decode_body(plugin, message)
    except Exception:
        # What cannot be read here has no links and no chord that could be told; its caller can.
        args, kwargs, embed = (), {}, {}
    values = {**decode_headers(message), "args": args, "kwargs": kwargs, **embed}
    values.update(reply_to=properties.get("reply_to"), correlation_id=properties.get("correlation_id"))
    return Context(values, delivery_info={}, called_directly=False)


def decode_body(plugin: Plugin, message: Message) -> tuple[Sequence[Any], dict[str, Any], dict[str, Any]]:
    """Arguments, keyword arguments and embedded canvas of a stored message; raises what the serializer raises."""
    accept = prepare_accept_content(plugin.app.conf.accept_content)
    body = loads(message.body, message.content_type, message.content_encoding, accept=accept)
    if isinstance(body, dict):  # task protocol 1
        return body.get("args") or (), body.get("kwargs") or {}, {"errbacks": body.get("errbacks")}
    args, kwargs, embed = body
    return args, kwargs, embed or {}


def _error(job: Job) -> Exception:
    text = job.error_message or "the job has failed"
    kinds: dict[str | None, type[Exception]] = {
        FailureReason.WORKER_LOST: WorkerLostError,
        FailureReason.TIMEOUT: TimeLimitExceeded,
        FailureReason.UNKNOWN_TASK: NotRegistered,
    }
    return kinds.get(job.failure_reason, RuntimeError)(text)
