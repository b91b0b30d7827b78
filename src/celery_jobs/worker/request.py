"""The worker's view of a message: what only the parent sees, lost children, hard limits, revokes."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from celery.worker.state import task_ready

from celery_jobs import settings
from celery_jobs.envelope import JOB_HEADER, job_of
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.execution import LEASE_KEY, WIRE_KEY, WORKER_KEY
from celery_jobs.plugin import plugin_of
from celery_jobs.states import FailureReason, FinalStatus
from celery_jobs.surviving import harmless
from celery_jobs.verdicts import after_retry, next_by_policy
from celery_jobs.worker.limits import limits_of
from celery_jobs.worker.ringing import ringing

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.plugin import Plugin

__all__ = ["JobRequest"]


class JobRequest(Request):  # type: ignore[misc]
    """A request whose outcome is settled in SQL first; Celery hears of it only where the claim still stood."""

    _settled = False
    _late = False
    _fenced = False
    _told = False
    """Whether the chain's end was told where Celery was to hear of this attempt's: it had been cancelled, or ended."""
    _untold = ""
    """The chain that a revoke has ended, until Celery has been told."""
    _accepted: float | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Celery makes a class for each task's requests, whose `on_success` calls no other."""
        super().__init_subclass__(**options)
        if "on_success" in cls.__dict__:
            cls.on_success = ringing(cls.on_success)

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self._job_id = self.lease_token = ""
        self._is_job = self._plugin.manages(self._task.name)
        if self._is_job:
            self._mark(message)
            self.time_limits = limits_of(self)

    def _mark(self, message: Any) -> None:
        """Name the claim that the process which runs the job will make, so that both know it without SQL."""
        self._job_id = job_of(message.headers) or ""
        self.lease_token = str(uuid.uuid4())
        request = self._request_dict
        request[LEASE_KEY] = self.lease_token
        request[WORKER_KEY] = None
        if self._job_id:
            request[JOB_HEADER] = self._job_id
            self._set_clock()
        else:
            from celery_jobs.adoption import arrival_of

            request.pop(JOB_HEADER, None)
            request[WIRE_KEY] = arrival_of(self, message)

    def _set_clock(self) -> None:
        """Our messages tell the database's time; Celery holds and expires them by this machine's clock."""
        ahead = timedelta(seconds=getattr(self._plugin.heart, "clock_ahead", 0.0))
        self._eta: datetime | None = self.eta and self.eta + ahead
        self._expires: datetime | None = self.expires and self.expires + ahead

    @property
    def request_dict(self) -> Any:
        """What the pool is given, with the worker's id of now: one that was declared dead has a new one."""
        if WORKER_KEY in self._request_dict:
            self._request_dict[WORKER_KEY] = getattr(self._plugin.heart, "worker_id", None)
        return self._request_dict

    @property
    def _plugin(self) -> Plugin:
        return plugin_of(self._app)

    @ringing
    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Settle a lost child or a hard time limit in SQL; everything else the child has settled."""
        if not self._is_job:
            return super().on_failure(exc_info, send_failed_event, return_ok)
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        lost = isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt)
        if isinstance(error, TimeLimitExceeded) and not self._settled:
            if self._goes_on_past_limit(error, exc_info.traceback):
                return None
        elif lost and not (self._already_cancelled or self._already_revoked) and self._settle(self._lose):
            return self._put_back()
        elif isinstance(error, MemoryError):
            exc_info = harmless(exc_info)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Stop what runs at a shutdown; in a pool that cannot stop it, it runs to its end, which counts."""
        with suppress(NotImplementedError):  # the solo pool would raise it in the middle of the task
            super().cancel(pool, signal, emit_retry)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note when a process took it, by a clock that nobody sets."""
        self._accepted = time_accepted
        super().on_accepted(pid, time_accepted)

    @ringing
    def on_timeout(self, soft: bool, timeout: float) -> None:
        """At a hard limit prefork reports the failure first and kills the child then, gevent says nothing else."""
        if soft or not self._is_job:
            super().on_timeout(soft, timeout)
        elif self._settled:
            if self.task.acks_late:
                self.acknowledge()
        elif not self._goes_on_past_limit(TimeLimitExceeded(timeout), ""):
            super().on_timeout(soft, timeout)

    def _goes_on_past_limit(self, error: TimeLimitExceeded, traceback: str) -> bool:
        """Settle a hard limit; whether SQL keeps the chain going, and Celery has heard so."""
        self._settled = True
        goes_on = self._settle(lambda: self._time_out(error))
        if self._fenced:
            self._put_back()
        elif goes_on:
            self._retried(error, traceback)
        return self._fenced or goes_on

    @ringing
    def end_runaway(self, longest: float | None) -> bool:
        """End the attempt in SQL where it runs on past its hard limit, in a pool that does not stop it.

        `longest`: seconds, the worker's own limit. What still runs is fenced, and the message stays its thread's to
        acknowledge. Whether it was ended.
        """
        limit = self.time_limits[0] or self.task.time_limit or longest
        if not (self._is_job and limit and self._accepted) or self._settled:
            return False
        if time.monotonic() - self._accepted <= limit + settings.RUNAWAY_GRACE:
            return False
        self._settled = self._late = True
        error = TimeLimitExceeded(limit)
        if self._settle(lambda: self._time_out(error)) and not self._fenced:
            self._tell_retry(error, "")
        return True

    def _settle(self, act: Any) -> bool:
        """Whether SQL keeps the chain going; without a database the heart settles it later."""
        try:
            return self._settle_now(act)
        except StoreUnavailable:
            self._late = True
            self._plugin.heart.postpone(lambda: self._settle_now(act))
            return True

    def _settle_now(self, act: Any) -> bool:
        from celery_jobs.adoption import adopted
        from celery_jobs.worker.settling import settle

        self._job_id = self._job_id or adopted(self._plugin, self.id)
        return settle(self._plugin, self._job_id, act)

    def _note_end(self, original_id: str) -> bool:
        """Whether the end has been told: as cancelled, or where Celery heard that a retry waits while SQL was away."""
        from celery_jobs.store import endings, reads
        from celery_jobs.telling import tell

        chain = reads.attempts(self._plugin.db, original_id)  # nobody deletes it before Celery has been told
        if self._late or chain[0].final_status == FinalStatus.CANCELLED:
            self._told = True
            tell(self._plugin, original_id)
            return True
        endings.mark_told(self._plugin.db, original_id)
        emit(Kind(f"job.{chain[0].final_status}"), chain[-1], error=self._plugin.masked(chain[-1].error_message))
        return False

    def _lose(self) -> bool:
        from celery_jobs.worker import settling

        ended = settling.lose(self._plugin, self._job_id, self.lease_token)
        return ended is None or self._note_end(ended.original_id)

    def _time_out(self, error: TimeLimitExceeded) -> bool:
        from celery_jobs.store import chains
        from celery_jobs.store.reads import claim_of
        from celery_jobs.store.rows import Failure

        claim = claim_of(self._plugin.db, self._job_id, self.lease_token)
        if claim is None:
            return self._fence(error)
        failure = Failure(FailureReason.TIMEOUT, "TimeLimitExceeded", f"hard time limit of {error.args[0]} s")
        following = next_by_policy(self._plugin, claim, error, self.task)
        if following is None:
            ended = chains.bury(self._plugin.db, claim, failure, self._duration_ms, untold=True)
            if ended is None:
                emit(Kind.FENCED, claim)
                return self._fence(error)
            return self._note_end(ended.original_id)
        outcome = chains.retry(self._plugin.db, claim, failure, following, self._duration_ms)
        self._told = not after_retry(self._plugin, claim, outcome)
        return outcome is not None or self._fence(error)

    def _fence(self, error: TimeLimitExceeded) -> bool:
        """The child's own end came first, or its claim is still to commit: look again when the child is dead."""
        from celery_jobs.sending import sender_of
        from celery_jobs.store import sends

        if self._fenced:
            sends.hold(self._plugin.db, self._job_id)
            sender_of(self._plugin).send_now([self._job_id])
        else:
            self._fenced = self._late = True
            self._plugin.heart.postpone(lambda: self._settle_now(lambda: self._time_out(error)))
        return True

    @property
    def _duration_ms(self) -> int | None:
        """Milliseconds since a child took the job."""
        return None if self._accepted is None else round((time.monotonic() - self._accepted) * 1000)

    def _put_back(self) -> None:
        task_ready(self)
        self.acknowledge()
        if not self._told:
            self.send_event("task-retried", exception="WorkerLostError", traceback="")

    def _retried(self, error: Exception, traceback: str) -> None:
        task_ready(self)
        self.acknowledge()
        self._tell_retry(error, traceback)

    def _tell_retry(self, error: Exception, traceback: str) -> None:
        if self._told:
            return
        if self.store_errors:
            self.task.backend.mark_as_retry(self.id, error, traceback, request=self._context)
        self.send_event("task-retried", exception=repr(error), traceback=traceback)

    @ringing
    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """A revoke or an expiry that the parent sees: into SQL first. Of a chain that has ended Celery has heard."""
        if self._is_job:
            self._settle(lambda: self._revoke(expired))
        if self._told:
            task_ready(self)
            self.acknowledge()
            self._already_revoked = True
        else:
            super()._announce_revoked(reason, terminated, signum, expired)
            self._note_announced()

    def _revoke(self, expired: bool) -> bool:
        from celery_jobs.store.endings import Ended
        from celery_jobs.worker import settling

        if expired:
            ended = settling.expire(self._plugin, self._job_id)
        else:
            ended = settling.revoke(self._plugin, self._job_id, self.lease_token, self._duration_ms)
        self._told = ended is False
        if isinstance(ended, Ended):
            self._untold = ended.original_id
        if self._late:
            self._note_announced()
        return True

    def _note_announced(self) -> None:
        """Celery has heard of it; where that cannot be noted, or was not so, a service tells it again."""
        from celery_jobs.store.endings import mark_told

        if self._untold:
            with suppress(StoreUnavailable):
                mark_told(self._plugin.db, self._untold)

    @ringing
    def _announce_cancelled(self, emit_retry: bool = True) -> None:
        """A shutdown or a lost connection takes the job from its child: given back, nothing burnt."""
        if self._is_job:
            self._settle(self._release)
        super()._announce_cancelled(emit_retry=emit_retry)

    def _release(self) -> bool:
        from celery_jobs.worker import settling

        return settling.release(self._plugin, self._job_id, self.lease_token)
