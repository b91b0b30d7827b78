"""What becomes of a failed attempt: the policy's next attempt, and what is recorded of the error."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded

from celery_jobs.errors import Cancelled, HttpFailed, NoRetry, RetryAfter, StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake
from celery_jobs.policy import Policy, level_from_json, resolve
from celery_jobs.settings import QueueSettings
from celery_jobs.states import FailureReason, FinalStatus
from celery_jobs.store.text import clean, error_message, error_traceback, error_type

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.chains import Ended, Next, Retried
    from celery_jobs.store.rows import Claim, Failure, Response

__all__ = [
    "after_completion",
    "after_end",
    "after_release",
    "after_retry",
    "error_of",
    "failure_of",
    "left_to_autoretry",
    "next_by_policy",
]


class OfChain(Protocol):
    """What the policy asks of the chain that an attempt belongs to."""

    @property
    def task(self) -> str | None: ...
    @property
    def queue(self) -> str: ...
    @property
    def retries_enabled(self) -> bool: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def policy_retries(self) -> int: ...
    @property
    def retry_policy(self) -> dict[str, Any] | None: ...


def left_to_autoretry(task: Any, kind: type[BaseException]) -> bool:
    """Whether Celery's `autoretry_for` retries exceptions of this class for a task, and not the policy."""
    wanted = tuple(getattr(task, "autoretry_for", ()) or ())
    unwanted = tuple(getattr(task, "dont_autoretry_for", ()) or ())
    return hasattr(task, "_orig_run") and issubclass(kind, wanted) and not issubclass(kind, unwanted)


def next_by_policy(plugin: Plugin, job: OfChain, error: BaseException, task: Any) -> Next | None:
    """The attempt that the policy makes of a failure; None where it gives up (semantics.md section 3)."""
    from celery_jobs.store.chains import Next

    hopeless = isinstance(error, (Cancelled, NoRetry, *getattr(task, "no_retry_for", ())))
    if hopeless or not job.retries_enabled or not plugin.settings.queue(job.queue).retries_enabled:
        return None
    if job.policy_retries + 1 >= job.max_attempts:
        return None
    delay = _delay(plugin, job)
    if isinstance(error, RetryAfter):
        delay = max(delay, error.seconds)
    return Next(delay=delay, by_policy=True)


def _delay(plugin: Plugin, job: OfChain) -> float:
    """Seconds before the next attempt, as job, task and queue say now."""
    try:
        policy = plugin.policy(job.task, job.queue, level_from_json(job.retry_policy))
    except ValueError:
        policy = Policy((), 1)
    if not policy.delays:
        # The delays were taken out of the settings while this chain has attempts left: better late than lost.
        policy = resolve(QueueSettings().level)
    return policy.delay(job.policy_retries)


def error_of(retval: Any, info: Any) -> BaseException:
    """The exception behind an outcome of Celery's tracer: of a Retry what it was raised for."""
    error = getattr(info, "retval", None)
    if not isinstance(error, BaseException):
        error = getattr(retval, "exception", None)
    if isinstance(error, Retry):
        error = error.__cause__ or error.exc or error  # Celery wraps an `exc` that it cannot pickle
    return error if isinstance(error, BaseException) else Retry("the task asked for a retry")


def failure_of(
    plugin: Plugin,
    task: Any,
    error: BaseException,
    traceback: str | None = None,
    response: Response | None = None,
) -> Failure:
    """What is recorded of an exception, and of what an HTTP job was answered."""
    from celery_jobs.store.rows import Failure

    reason = _reason(task, error)
    if isinstance(error, HttpFailed):  # its traceback is ours, and says nothing of what happened
        return Failure(reason, error_type(error), error_message(error), None, response)
    limit = plugin.settings.max_traceback_bytes
    text = error_traceback(error, limit) if traceback is None else clean(traceback, limit)
    return Failure(reason, error_type(error), error_message(error), text, response)


def _reason(task: Any, error: BaseException) -> FailureReason:
    if isinstance(error, SoftTimeLimitExceeded):
        return FailureReason.TIMEOUT
    if isinstance(error, HttpFailed) and error.reason in set(FailureReason):
        return FailureReason(error.reason)
    if isinstance(error, (NoRetry, Reject, *getattr(task, "no_retry_for", ()))):
        return FailureReason.NO_RETRY
    return FailureReason.EXCEPTION


def after_completion(plugin: Plugin, job: Claim, done: bool) -> None:
    """Tell that an attempt has returned; not `done`: it had lost its lease."""
    emit(Kind.COMPLETED if done else Kind.FENCED, job)
    if done:
        wake(plugin, job)


def after_release(plugin: Plugin, job: Claim) -> None:
    """Tell that a claim was given back, nothing burnt."""
    emit(Kind.RELEASED, job)
    wake(plugin, job)


def after_end(plugin: Plugin, job: Claim, ended: Ended | None, message: str) -> bool:
    """Tell what happened; whether the chain failed, as Celery believes, and was not cancelled, as it is told here."""
    if ended is None:
        emit(Kind.FENCED, job)
    elif ended.final_status is FinalStatus.CANCELLED:
        from celery_jobs.telling import tell

        tell(plugin, ended.original_id)
        return False
    else:
        emit(Kind(f"job.{ended.final_status}"), job, error=plugin.masked(message))
        wake(plugin, job)
    return True


def after_retry(plugin: Plugin, job: Claim, outcome: Retried | Ended | None) -> bool:
    """Send a retry that is due soon, and tell what happened; whether there is a retry."""
    from celery_jobs.sending import sender_of
    from celery_jobs.store.chains import Ended

    if outcome is None:
        emit(Kind.FENCED, job)
    elif isinstance(outcome, Ended):
        from celery_jobs.telling import tell

        tell(plugin, outcome.original_id)  # Celery believes that a retry waits
    else:
        emit(Kind.RETRIED, job, next_job_id=outcome.job_id, scheduled_at=outcome.scheduled_at)
        if outcome.sent_at is not None:
            with suppress(StoreUnavailable):  # the redispatcher sends it then
                sender_of(plugin).send_stored([outcome.job_id])
        wake(plugin, job)
        return True
    return False
