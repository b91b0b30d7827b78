"""One attempt in the process that runs it: claim, run, finish. The database decides at both ends."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from billiard.einfo import ExceptionInfo
from celery import states as celery_states
from celery.exceptions import Ignore, Reject, Retry

from celery_jobs import failpoints, soft_limit, verdicts
from celery_jobs.cancellation import StopSign
from celery_jobs.canvas import name_links
from celery_jobs.claiming import claim_job, dropped
from celery_jobs.envelope import EDITION_HEADER, JOB_HEADER, queue_of_delivery
from celery_jobs.errors import Cancelled
from celery_jobs.events import Kind, emit
from celery_jobs.result_store import tolerated
from celery_jobs.states import FailureReason
from celery_jobs.store.text import error_message, error_type, result_text
from celery_jobs.verdicts import after_end, after_retry, error_of, failure_of, left_to_autoretry, next_by_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.plugin import Plugin
    from celery_jobs.recording import Wire
    from celery_jobs.store.chains import Next
    from celery_jobs.store.rows import Claim, Response

__all__ = ["LEASE_KEY", "WIRE_KEY", "WORKER_KEY", "Execution", "current", "traced"]

LEASE_KEY, WORKER_KEY, WIRE_KEY = "celery_job_lease", "celery_job_worker", "celery_job_wire"
"""Keys that the worker's parent adds to a request for the process that runs it."""

_current: ContextVar[Execution | None] = ContextVar("celery_job", default=None)


def current() -> Execution | None:
    """The attempt that runs here, if any."""
    return _current.get()


@dataclass(slots=True)
class Execution:
    """An attempt that has been claimed and runs."""

    plugin: Plugin
    task: Any
    job: Claim
    retries: int
    nesting: int
    asked: float
    """When the claim was asked for: its answer may have been long on its way."""
    started: float
    """By the plugin's clock."""
    entered: bool = False
    body_done: bool = False
    gave_up: bool | Exception = False
    fenced: bool = False
    untold: bool = False
    """Whether the result store was away when it was to hear of the outcome."""
    following: Next | None = None
    stopped: Exception | None = None
    """What it raised to end as cancelled, of which Celery hears nothing."""
    stop_sign: StopSign | None = None
    replaced_by: str | None = None
    response: Response | None = None
    """What an HTTP job was answered."""

    @property
    def retries_by_policy(self) -> int:
        """Those of Celery's `request.retries` that were the policy's."""
        return self.job.policy_retries

    @property
    def duration_ms(self) -> int:
        """Milliseconds since the claim."""
        return round((self.plugin.monotonic() - self.started) * 1000)

    def is_retried_by(self, wire: Wire) -> bool:
        """Whether a message about to be sent is a retry of this very attempt."""
        return self._is_mine(wire) and wire.nesting == self.nesting and wire.retries == self.retries + 1

    def is_replaced_by(self, wire: Wire) -> bool:
        """Whether a message about to be sent comes from `Task.replace` in this attempt."""
        return self._is_mine(wire) and wire.nesting == self.nesting + 1

    def _is_mine(self, wire: Wire) -> bool:
        return wire.task_id == self.job.task_id

    def run(self, body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], whole: bool) -> Any:
        """Run the task's body, `whole` with autoretry inside; a failure that the policy retries leaves as Retry."""
        self.entered = True
        try:
            failpoints.reach("run.begun")
            result = soft_limit.limited(body, args, kwargs)
            failpoints.reach("run.ended")
        except (Retry, Ignore, Reject):
            raise
        except Exception as error:
            verdict = self._judge(error, whole)
            if verdict is error:
                raise
            raise verdict from error
        finally:
            self.body_done = True
            self._require_lease()
        if self.following is not None:
            # retry(throw=False): the caller sees RETRY while a retry waits, as with any other.
            raise Retry(when=self.following.scheduled_at or self.following.delay)
        name_links(self.task.request, self.job.original_id)
        return result

    def is_cancelled(self, now: bool = False) -> bool:
        """Whether somebody has cancelled the run (semantics.md section 10); `now`: as the database says now."""
        self.stop_sign = self.stop_sign or StopSign(self.plugin, self.job.id)
        return self.stop_sign.is_up(now)

    def _judge(self, error: Exception, whole: bool) -> Exception:
        if isinstance(error, Cancelled):
            return self._stop(error)
        if self.following is None:
            if not self.gave_up and left_to_autoretry(self.task, type(error)) and not whole:
                return error
            self.following = None if self.gave_up else next_by_policy(self.plugin, self.job, error, self.task)
        if self.following is None:
            return self._stop(error) if self.is_cancelled(now=True) else error
        retry: Exception = Retry(exc=error, when=self.following.scheduled_at or self.following.delay)
        return retry

    def _stop(self, error: Exception) -> Exception:
        """End as cancelled: Celery, which knows no such end of a run, is to make nothing of it."""
        self.stopped, self.following = error, None
        ignored: Exception = Ignore("the run was cancelled")
        return ignored

    def _require_lease(self) -> None:
        """A long attempt that has lost its lease publishes nothing and stores nothing from here on."""
        if time.monotonic() - self.asked <= self._safe_for:
            return
        from celery_jobs.store.attempts import holds_lease

        if not holds_lease(self.plugin.db, self.job.id, self.job.lease_token):
            self.fenced = True
            raise Ignore("the lease on this attempt was lost; its outcome is dropped")

    @property
    def _safe_for(self) -> float:
        """Seconds in which nobody can have taken the lease away."""
        of_worker = self.plugin.settings.worker_timeout - self.plugin.settings.heartbeat_interval
        limit = (self.task.request.timelimit or (None,))[0] or self.task.time_limit
        return of_worker if limit is None else min(of_worker, limit)


def traced(plugin: Plugin, task: Any, tracer: Callable[..., Any]) -> Callable[..., Any]:
    """Celery's tracer with the claim before anything happens and the finish after everything has."""

    def trace(uuid: str, args: Any, kwargs: Any, request: dict[str, Any] | None = None) -> Any:
        request = {} if request is None else request
        soft_limit.hold()
        try:
            if not request.keys() & {JOB_HEADER, WIRE_KEY}:
                soft_limit.let()
                return tracer(uuid, args, kwargs, request)  # not from a worker's request of ours: nothing to claim
            execution = _begin(plugin, task, request)
            if execution is None:
                return dropped()
            outcome = _run(execution, tracer, (uuid, args, kwargs, request))
            try:
                outcome = _finish(execution, outcome)
            except Exception as error:
                _bury_plainly(execution, error)  # a fault of ours, or of a setting: nothing stays processing
                raise
        finally:
            soft_limit.drop()
            soft_limit.let()
        return outcome

    trace.__wrapped__ = tracer  # type: ignore[attr-defined]
    return trace


def _run(execution: Execution, tracer: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """Run Celery's tracer; where it fails itself the attempt is not left processing."""
    token = _current.set(execution)
    try:
        with tolerated(execution.task.backend) as missed:
            outcome = tracer(*call)
        _note_missed(execution, missed)
        return outcome
    except Exception as error:
        _bury(execution, error, None)
        raise
    finally:
        _current.reset(token)


def _note_missed(execution: Execution, missed: list[Exception]) -> None:
    execution.untold = bool(missed)
    for error in missed:
        emit(Kind.UNTOLD, execution.job, error=execution.plugin.masked(repr(error)))


def _begin(plugin: Plugin, task: Any, request: dict[str, Any]) -> Execution | None:
    """Claim the job of a request; None where it is not ours to run."""
    lease_token = request.pop(LEASE_KEY, None) or str(uuid4())
    worker = request.pop(WORKER_KEY, None) or str(uuid4())  # unknown: its lease alone bounds it
    arrival = request.pop(WIRE_KEY, None)
    job_id, edition = request.pop(JOB_HEADER, None), int(request.pop(EDITION_HEADER, 0))
    plugin.await_db()
    if job_id is None:
        from celery_jobs.adoption import adopt

        job_id = adopt(plugin, arrival)
    queue = queue_of_delivery(plugin.app.amqp.queues, request.get("delivery_info") or {})
    asked = time.monotonic()
    claim = claim_job(plugin, job_id, worker, lease_token, plugin.settings.queue(queue).visibility_timeout, edition)
    if claim is None:
        return None
    emit(Kind.STARTED, claim)
    nesting = int(request.get("replaced_task_nesting") or 0)
    return Execution(plugin, task, claim, int(request.get("retries") or 0), nesting, asked, plugin.monotonic())


def _finish(execution: Execution, outcome: Any) -> Any:
    """Write what became of the attempt, whatever Celery made of it; gives what the pool is told of it."""
    retval, info = outcome.retval, outcome.info
    if execution.fenced:
        emit(Kind.FENCED, execution.job)
    elif execution.following is not None:
        if not _retry(execution, execution.following, error_of(retval, info)):
            return dropped()  # a worker that said that a retry waits would take back what was said of the chain's end
    elif execution.stopped is not None:
        _bury(execution, execution.stopped, retval)
    elif isinstance(retval, ExceptionInfo) and (info is None or info.state == celery_states.FAILURE):
        if not _bury(execution, error_of(retval, info), retval):
            return dropped()  # the same of one that said that it has failed
    elif info is None or info.state == celery_states.IGNORED:
        _complete(execution, retval if info is None else None)
    elif info.state == celery_states.REJECTED and info.retval.requeue:
        _release(execution)
    elif not _bury(execution, error_of(retval, info), retval):
        return dropped()
    return outcome


def _complete(execution: Execution, result: Any) -> None:
    from celery_jobs.store.attempts import complete

    text = result_text(result, execution.plugin.settings.max_result_bytes, execution.plugin.sealer)
    job = execution.job
    ended = (execution.duration_ms, execution.replaced_by, execution.untold, execution.response)
    done = complete(execution.plugin.db, job, text, *ended)
    verdicts.after_completion(execution.plugin, job, done)


def _retry(execution: Execution, following: Next, error: BaseException) -> bool:
    from celery_jobs.store import chains

    failure = failure_of(execution.plugin, execution.task, error, response=execution.response)
    outcome = chains.retry(execution.plugin.db, execution.job, failure, following, execution.duration_ms)
    return after_retry(execution.plugin, execution.job, outcome)


def _bury(execution: Execution, error: BaseException, retval: Any) -> bool:
    from celery_jobs.store.chains import bury

    traceback = getattr(retval, "traceback", None) if error.__traceback__ is None else None
    failure = failure_of(execution.plugin, execution.task, error, traceback, execution.response)
    cancelled = execution.stopped is not None
    ended = bury(execution.plugin.db, execution.job, failure, execution.duration_ms, execution.untold, cancelled)
    return after_end(execution.plugin, execution.job, ended, failure.message)


def _bury_plainly(execution: Execution, error: Exception) -> None:
    """End an attempt whose end could not be written as it should, asking nothing of the task or its policy."""
    from celery_jobs.store.chains import bury
    from celery_jobs.store.rows import Failure

    failure = Failure(FailureReason.EXCEPTION, error_type(error), error_message(error))
    ended = bury(execution.plugin.db, execution.job, failure, execution.duration_ms, untold=True)
    if ended is not None:
        from celery_jobs.telling import tell

        tell(execution.plugin, ended.original_id)


def _release(execution: Execution) -> None:
    from celery_jobs.store.endings import Ended, release

    released = release(execution.plugin.db, execution.job.id, execution.job.lease_token)
    if isinstance(released, Ended):
        after_end(execution.plugin, execution.job, released, "")
    else:
        verdicts.after_release(execution.plugin, execution.job)
