"""Outside workers: programs that claim the jobs of pull queues by name, without Celery (semantics.md section 10)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import InvalidJob, JobNotFound, JobNotHeld
from celery_jobs.events import Kind, emit
from celery_jobs.ids import parse_id
from celery_jobs.limits import wake, wake_of, wake_up
from celery_jobs.moments import plain
from celery_jobs.payload import read_payload
from celery_jobs.payload_enqueueing import enqueue, require_pull
from celery_jobs.runs import MARKS, make_run, masked
from celery_jobs.sealing import Unsealable
from celery_jobs.states import FailureReason, Status
from celery_jobs.store import attempts, chains, endings, outside, reads
from celery_jobs.store.limits import limits_of
from celery_jobs.store.rows import Failure
from celery_jobs.store.text import clean, error_message, result_text
from celery_jobs.telling import tell
from celery_jobs.verdicts import after_completion, after_retry, next_by_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from celery_jobs.plugin import Plugin
    from celery_jobs.runs import Run
    from celery_jobs.sealing import Sealer
    from celery_jobs.store.outside import Standing

__all__ = ["ClaimedJob", "Lease", "OutsideWorkers"]

LEASE, SHORTEST_LEASE, LONGEST_LEASE = 30.0, 1, 3600
"""Seconds that a job is claimed for where none are named; the least and the most that may be named."""

MOST_CLAIMED = 100
"""Jobs of one claim."""

LONGEST_WORKER_ID = 255
"""Bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job as the outside worker gets it that has claimed it; `id` is what its other verbs take."""

    id: str
    original_id: str
    queue: str
    payload: Any
    attempt_number: int
    max_attempts: int
    priority: int
    tags: list[str] | dict[str, Any] | None
    losses: int
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime
    lease_expires_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Lease:
    """How long an outside worker has a job; `cancel_requested`: it is asked to stop, and to say so with `fail`."""

    id: str
    lease_expires_at: datetime
    cancel_requested: bool

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


class OutsideWorkers:
    """The verbs of `Jobs` for queues with `mode = "pull"`."""

    _plugin: Plugin

    if TYPE_CHECKING:

        def get(self, id: str) -> Run:
            """Of `Jobs`."""

    def enqueue_payload(self, queue: str, payload: Any, **options: Any) -> Run:
        """Enqueue a JSON value to a pull queue, for outside workers, and give its run, whose `task` is None.

        `priority` is higher first, `delay` 0 to 86,400 seconds; takes the options of `enqueue` but Celery's own, and
        `expires` (seconds or a moment). The scope of an `idempotency_key` is the queue. Raises InvalidJob,
        PayloadTooLarge, PayloadNotSerializable.
        """
        made = enqueue(self._plugin, queue, payload, options)
        names, session = self._plugin.settings.redacted, options.get("session")
        if session is None:
            chain = reads.attempts(self._plugin.db, made.job_id)
        else:
            chain = reads.attempts_in(self._plugin.db, session, made.job_id)
        run = make_run([masked(job, names) for job in chain] if names else chain)
        return replace(run, **{name: getattr(made, name) for name in MARKS})

    def claim(self, queue: str, worker_id: str, limit: int = 1, lease_duration: float = LEASE) -> list[ClaimedJob]:
        """Claim up to `limit` (1 to 100) due jobs of a pull queue, each for `lease_duration` (1 to 3,600) seconds.

        By priority, due time and id; also those whose lease ran out, which is a loss, and the third one ends a chain
        (semantics.md sections 6 and 10). Raises InvalidJob.
        """
        require_pull(self._plugin, queue)
        _check_worker(worker_id)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_CLAIMED:
            raise InvalidJob("limit", f"a whole number from 1 to {MOST_CLAIMED} is expected, not {limit!r}")
        lease = _seconds(lease_duration)
        for job_id, token in outside.leases_run_out(self._plugin.db, queue, MOST_CLAIMED):
            self._take_away(job_id, token)
        limits = limits_of(queue, self._plugin.settings.queue(queue), None)
        rows, full = outside.claim(self._plugin.db, queue, worker_id, limit, lease, limits)
        wake_up(self._plugin, full)  # those that come before what was made to wait
        claimed = self._read(rows)
        for job in claimed:
            emit(Kind.STARTED, job, task_id=job.original_id)
        return claimed

    def _read(self, rows: list[Any]) -> list[ClaimedJob]:
        """What was claimed; all given back where one of it is sealed and cannot be opened here."""
        try:
            return [_claimed_job(row, self._plugin.sealer) for row in rows]
        except Unsealable:
            for row in rows:
                endings.release(self._plugin.db, row.id, row.lease_token, patient=False)
            raise

    def _take_away(self, job_id: str, lease_token: str) -> None:
        lost = endings.lose(self._plugin.db, job_id, self._plugin.settings.max_losses, lease_token=lease_token)
        if isinstance(lost, endings.Ended):
            tell(self._plugin, lost.original_id)
        elif lost:
            emit(Kind.LOST, job_id=job_id)
            wake_of(self._plugin, [job_id])

    def complete(self, id: str, worker_id: str, result: Any = None) -> Run:
        """End a claimed job as completed, with a result that is kept as JSON; gives its run.

        Doing it again changes nothing. Raises JobNotFound, InvalidJob, and JobNotHeld for who does not hold the job.
        """
        text = result_text(result, self._plugin.settings.max_result_bytes, self._plugin.sealer)
        return self._end(id, worker_id, (Status.COMPLETED,), lambda held: self._complete(held, text))

    def _complete(self, held: Standing, result: str | None) -> bool:
        assert held.claim is not None
        done = attempts.complete(self._plugin.db, held.claim, result, held.duration_ms, patient=False)
        if done:
            after_completion(self._plugin, held.claim, done)
        return done

    def fail(self, id: str, worker_id: str, error: str) -> Run:
        """End a claimed job as failed, with what went wrong; it is retried as any failure is. Gives its run.

        Doing it again changes nothing. Raises JobNotFound, InvalidJob, and JobNotHeld for who does not hold the job.
        """
        if not isinstance(error, str):
            raise InvalidJob("error", f"a text is expected, not {error!r}")
        failure = Failure(FailureReason.EXCEPTION, "", error_message(Exception(error)))
        return self._end(id, worker_id, (Status.FAILED, Status.CANCELLED), lambda held: self._fail(held, failure))

    def _fail(self, held: Standing, failure: Failure) -> bool:
        assert held.claim is not None
        job, db, duration_ms = held.claim, self._plugin.db, held.duration_ms
        following = next_by_policy(self._plugin, job, Exception(failure.message), None)
        if following is not None:
            outcome = chains.retry(db, job, failure, following, duration_ms, patient=False)
            if outcome is not None:
                after_retry(self._plugin, job, outcome)
            return outcome is not None
        ended = chains.bury(db, job, failure, duration_ms, patient=False)
        if ended is not None:
            emit(Kind(f"job.{ended.final_status}"), job, error=self._plugin.masked(failure.message))
            wake(self._plugin, job)
        return ended is not None

    def heartbeat(self, id: str, worker_id: str, lease_duration: float | None = None) -> Lease:
        """Keep a claimed job for `lease_duration` (1 to 3,600) seconds from now, or for as long as the last time.

        Raises JobNotFound, InvalidJob, and JobNotHeld for who does not hold the job.
        """
        _check_worker(worker_id)
        seconds = None if lease_duration is None else _seconds(lease_duration)
        while (kept := outside.keep(self._plugin.db, _row_id(id), worker_id, seconds)) is None:
            self._require_held(id, worker_id)
        return Lease(_row_id(id), *kept)

    def _end(self, id: str, worker_id: str, ended: tuple[Status, ...], act: Callable[[Standing], bool]) -> Run:
        """Let who holds a job end it; a repetition is no error, and who is overtaken is told by whom."""
        _check_worker(worker_id)
        while True:
            held = self._require_held(id, worker_id, ended)
            if held.claim is None or act(held):
                return self.get(held.original_id)

    def _require_held(self, id: str, worker_id: str, ended: tuple[Status, ...] = ()) -> Standing:
        """How a job stands with who holds it, or has `ended` it; raises JobNotFound, InvalidJob, JobNotHeld."""
        held = outside.standing(self._plugin.db, _row_id(id), worker_id)
        if held is None:
            raise JobNotFound(id)
        if held.task is not None:
            raise InvalidJob("id", f"the job {id} is of the task {held.task}, which only workers of Celery run")
        if held.claim is None and not (held.last == worker_id and held.status in ended):
            raise JobNotHeld(_why_not(id, worker_id, held), held.holder)
        return held


def _row_id(id: str) -> str:
    """The id of one attempt; a run's other attempts are other claims."""
    job_id = parse_id(id)
    if job_id is None:
        raise JobNotFound(id)
    return job_id


def _why_not(id: str, worker_id: str, job: Standing) -> str:
    if job.holder is not None:
        return f"the job {id} is held by {job.holder!r}, not by {worker_id!r}"
    if job.status == Status.PENDING:
        return f"nobody holds the job {id}: it waits to be claimed"
    if job.status == Status.PROCESSING:
        return f"nobody holds the job {id}: the lease of {job.last!r} has run out"
    by = f" by {job.last!r}" if job.last is not None else ""
    return f"nobody holds the job {id}: it was ended{by}, as {job.status}"


def _claimed_job(row: Any, sealer: Sealer | None) -> ClaimedJob:
    payload = read_payload(row.content_type, row.body, sealer)
    return ClaimedJob(payload=payload, **{name: getattr(row, name) for name in outside.CLAIMED})


def _check_worker(worker_id: Any) -> None:
    storable = isinstance(worker_id, str) and worker_id == clean(worker_id)
    if not storable or not 1 <= len(worker_id.encode()) <= LONGEST_WORKER_ID:
        wanted = f"a text of 1 to {LONGEST_WORKER_ID} bytes of UTF-8, without NUL"
        raise InvalidJob("worker_id", f"{wanted}, is expected, not {worker_id!r}")


def _seconds(lease_duration: Any) -> float:
    numeric = isinstance(lease_duration, int | float) and not isinstance(lease_duration, bool)
    if not numeric or not SHORTEST_LEASE <= lease_duration <= LONGEST_LEASE:
        raise InvalidJob(
            "lease_duration",
            f"a number of seconds from {SHORTEST_LEASE} to {LONGEST_LEASE:,} is expected, not {lease_duration!r}",
        )
    return float(lease_duration)
