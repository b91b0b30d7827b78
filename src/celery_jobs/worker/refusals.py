"""Messages that this worker cannot run: it does not know the task, or cannot read the message.

Celery drops them and reports a failure. A job waits for a worker that can, for a bounded number of tries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import bootsteps

from celery_jobs.envelope import job_of
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.plugin import plugin_of
from celery_jobs.states import FailureReason
from celery_jobs.store import endings
from celery_jobs.store.text import clean, error_message
from celery_jobs.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.worker.consumer import Consumer

__all__ = ["Refusals"]


class Refusals(bootsteps.Step):  # type: ignore[misc]
    """Stands before the consumer's own handlers; made before the consumer hands them on."""

    label = "Refusals"

    def __init__(self, consumer: Consumer, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.plugin = plugin_of(consumer.app)
        self.errors = consumer.connection_errors
        unknown, invalid, unreadable = consumer.on_unknown_task, consumer.on_invalid_task, consumer.on_decode_error
        consumer.on_unknown_task = lambda body, message, exc: self._refuse(
            message, FailureReason.UNKNOWN_TASK, exc, lambda: unknown(body, message, exc)
        )
        consumer.on_invalid_task = lambda body, message, exc: self._refuse(
            message, FailureReason.UNDECODABLE, exc, lambda: invalid(body, message, exc)
        )
        consumer.on_decode_error = lambda message, exc: self._refuse(
            message, FailureReason.UNDECODABLE, exc, lambda: unreadable(message, exc)
        )

    def _refuse(self, message: Any, reason: FailureReason, error: Exception, otherwise: Callable[[], None]) -> None:
        job_id = job_of(message.headers)
        if job_id is None:
            otherwise()
            return
        words = self._words(message, reason, error)
        message.reject_log_error(None, self.errors)
        emit(Kind.REFUSED, job_id=job_id, reason=reason, error=self.plugin.masked(words))
        try:
            outcome = endings.refuse(self.plugin.db, job_id, reason, words, self.plugin.settings.max_refusals)
        except StoreUnavailable:
            return  # the redispatcher sends it again, and the next worker says so
        if isinstance(outcome, endings.Ended):
            tell(self.plugin, outcome.original_id)

    def _words(self, message: Any, reason: FailureReason, error: Exception) -> str:
        if reason is FailureReason.UNKNOWN_TASK:
            task = clean(str(message.headers.get("task")))
            return f"a worker that was sent the job does not know the task {task}; deploy it, or start a worker with it"
        return f"a worker cannot read the message ({message.content_type}): {error_message(error)}"
