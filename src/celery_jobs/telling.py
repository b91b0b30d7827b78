"""Telling Celery of a verdict that was reached outside a worker's run: cancel, expiry, loss (semantics.md section 6).

After the commit, and again by a service where it was lost; telling twice is harmless.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from celery.exceptions import NotRegistered, TimeLimitExceeded, WorkerLostError
from kombu.utils import json

from celery_jobs import failpoints
from celery_jobs.envelope import decode_body, decode_headers
from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake
from celery_jobs.publisher import ending
from celery_jobs.sending import sender_of
from celery_jobs.states import FailureReason, FinalStatus
from celery_jobs.store import endings, reads, workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Job, Message

__all__ = ["backend_of", "cancel_waiting", "expire", "tell", "tell_lost", "tell_untold"]


def expire(plugin: Plugin, job_id: str) -> bool:
    """Cancel a pending job whose `expires` has passed, and tell Celery."""
    ended = endings.expire(plugin.db, job_id)
    if not isinstance(ended, endings.Ended):
        return False
    tell(plugin, ended.original_id)
    return True


def cancel_waiting(plugin: Plugin, original_ids: Iterable[str]) -> None:
    """Cancel those of the chains that wait, none that runs, and tell Celery, also of what another has just cancelled.

    Where its result store is away, a service tells the rest later.
    """
    ids = list(original_ids)
    for original_id in ids:
        endings.cancel(plugin.db, original_id, waiting_only=True)
    all(tell(plugin, original_id) for original_id in ids)


def tell_untold(plugin: Plugin, limit: int) -> int:
    """Tell Celery of the verdicts that it has not heard; gives how many there were."""
    untold = reads.untold(plugin.db, limit)
    for original_id in untold:
        tell(plugin, original_id, again=True)
    return len(untold)


def tell_lost(plugin: Plugin, job_id: str, worker: str | None = None) -> None:
    """Tell those who listen to Celery's events that a job waits again, whose worker was lost."""
    chain = reads.attempts(plugin.db, reads.find_original(plugin.db, job_id) or "", answers=False)
    for job in [job for job in chain[-1:] if job.task is not None]:
        _say(plugin, worker, "task-retried", uuid=job.task_id, name=job.task, exception="WorkerLostError", traceback="")


def tell(plugin: Plugin, original_id: str, again: bool = False) -> bool:
    """Mark a chain's end in the result backend as a worker would: SUCCESS, REVOKED, or FAILURE with errbacks.

    False: the result store or the broker is away; the row stays untold, and a service tells it later. `again`: the
    event of this verdict has been told, by whoever reached it.
    """
    attempts = reads.attempts(plugin.db, original_id)
    if attempts and not again:
        wake(plugin, attempts[-1])
    if not attempts or attempts[0].untold_at is None:
        return True
    last, original = attempts[-1], attempts[0]
    if not again:
        emit(Kind(f"job.{original.final_status}"), last, error=plugin.masked(last.error_message))
    if original.task is None:  # an outside worker's, of which Celery has never heard
        endings.mark_told(plugin.db, original_id)
        return True
    message = reads.message_of(plugin.db, last.id)
    try:
        with ending(original_id):
            _mark(plugin, original, last, message)
        failpoints.reach("tell.told")
    except Exception as error:
        emit(Kind.UNTOLD, last, error=plugin.masked(repr(error)))
        return False
    finally:
        _leave_django()
    _say_end(plugin, original, last)
    endings.mark_told(plugin.db, original_id)
    return True


def backend_of(plugin: Plugin, job: Job) -> Any:
    """The result backend that has the result of a job."""
    task = plugin.app._tasks.get(job.task)
    return plugin.app.backend if task is None else task.backend


def _mark(plugin: Plugin, original: Job, last: Job, message: Message | None) -> None:
    backend = backend_of(plugin, last)
    context = _context(plugin, last, message)
    store = not getattr(context, "ignore_result", False)
    if original.final_status == FinalStatus.SUCCESS:
        text = last.result
        if text is not None and plugin.sealer is not None:
            text = plugin.sealer.open_json(text)  # it was opened, unless its key is not here, which this says
        result = None if text is None else json.loads(text)
        backend.mark_as_done(context.id, result, request=context, store_result=store)
    elif original.final_status == FinalStatus.CANCELLED:
        reason = "expired" if last.failure_reason == FailureReason.EXPIRED else "revoked"
        backend.mark_as_revoked(context.id, reason, request=context, store_result=store)
    else:
        backend.mark_as_failure(context.id, _error(last), request=context, store_result=store)


def _say_end(plugin: Plugin, original: Job, last: Job) -> None:
    """What a worker says of an end: a success it has said itself."""
    task = {"uuid": last.task_id, "name": last.task}
    if original.final_status == FinalStatus.CANCELLED:
        if last.started_at is not None:  # it may be known as failed, which only a retry takes back
            _say(plugin, last.worker, "task-retried", **task, exception="cancelled", traceback="")
        expired = last.failure_reason == FailureReason.EXPIRED
        _say(plugin, last.worker, "task-revoked", **task, terminated=False, signum=None, expired=expired)
    elif original.final_status != FinalStatus.SUCCESS:
        error = {"exception": plugin.masked(repr(_error(last))), "traceback": plugin.masked(last.traceback) or ""}
        _say(plugin, last.worker, "task-failed", **task, **error)


def _say(plugin: Plugin, worker: str | None, kind: str, **fields: Any) -> None:
    """Say it in the name of a worker that listeners know: they would take any other name for a worker as well."""
    hostname = workers.name_for(plugin.db, worker)
    if hostname is not None:
        sender_of(plugin).say(hostname, kind, **fields)


def _leave_django() -> None:
    """Give up Django's connection: outside of its requests nobody else does, nor replaces one that has died."""
    conf = sys.modules.get("django.conf")
    if conf is not None and conf.settings.configured:
        from django.db import close_old_connections

        close_old_connections()


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


def _error(job: Job) -> Exception:
    text = job.error_message or "the job has failed"
    kinds: dict[str | None, type[Exception]] = {
        FailureReason.WORKER_LOST: WorkerLostError,
        FailureReason.TIMEOUT: TimeLimitExceeded,
        FailureReason.UNKNOWN_TASK: NotRegistered,
    }
    return kinds.get(job.failure_reason, RuntimeError)(text)
