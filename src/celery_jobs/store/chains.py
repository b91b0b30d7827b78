"""Transitions at the end of a run that touch a whole chain: retry, bury. Each locks the original first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal, select, update

from celery_jobs.ids import new_id
from celery_jobs.states import FinalStatus, Status
from celery_jobs.store.among import of_chains
from celery_jobs.store.attempts import lock_original, mark_finished
from celery_jobs.store.db import now
from celery_jobs.store.new_rows import timing
from celery_jobs.store.tables import Timestamp, jobs, messages

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Claim, Failure, Message

__all__ = ["Ended", "Next", "Retried", "bury", "end_chain", "failure_columns", "retry", "verdict_of"]


@dataclass(frozen=True, slots=True)
class Next:
    """The attempt that follows a failed one. `delay`: seconds from the failure, or `scheduled_at`.

    `message` None: the arguments are unchanged and the stored message is shared.
    """

    delay: float = 0
    scheduled_at: datetime | None = None
    by_policy: bool = False
    message: Message | None = None
    queue: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """A retry is stored. `sent_at` None: it is held in SQL. `wait`: seconds until it is due."""

    job_id: str
    attempt_number: int
    scheduled_at: datetime
    sent_at: datetime | None
    wait: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A chain has ended."""

    original_id: str
    final_status: FinalStatus


def retry(
    db: Database,
    job: Claim,
    failure: Failure,
    following: Next,
    duration_ms: int | None = None,
    patient: bool = True,
) -> Retried | Ended | None:
    """processing -> failed, and the next attempt pending, in one transaction; None for who lost the lease.

    Where a cancel was asked for, the chain ends as cancelled instead (semantics.md sections 2, 3, 10). `patient`: wait
    for the database as long as it takes.
    """
    run = db.persist if patient else db.run
    return run(partial(_retry, db, job, failure, following, duration_ms), point="retry")


def _retry(
    db: Database,
    job: Claim,
    failure: Failure,
    following: Next,
    duration_ms: int | None,
    connection: Connection,
) -> Retried | Ended | None:
    original = lock_original(connection, job.original_id)
    if original is None:
        return None
    if not _stands(connection, job):
        return _already_retried(connection, job)
    if original.cancel_requested_at is not None:
        return _end(connection, job, failure, FinalStatus.CANCELLED, duration_ms, untold=True)
    is_original = job.id == job.original_id
    verdict = FinalStatus.RETRYING if is_original else FinalStatus.FAILED_WITH_RETRIES
    columns = {"duration_ms": duration_ms, "response": failure.response, **failure_columns(failure)}
    if not mark_finished(connection, job, Status.FAILED, verdict, ends=False, **columns):
        return None  # given back between the two statements, by who need not lock a chain for it
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.original_id)
        .values(final_status=FinalStatus.RETRYING, has_pending_retry=True, **_last_error(failure))
    )
    return _insert_next(db, connection, job, following)


def _stands(connection: Connection, job: Claim) -> bool:
    """Whether the claim still stands, under the lock of its chain."""
    row = connection.execute(
        select(jobs.c.id).where(
            jobs.c.id == job.id, jobs.c.status == Status.PROCESSING, jobs.c.lease_token == job.lease_token
        )
    ).first()
    return row is not None


def _insert_next(db: Database, connection: Connection, job: Claim, following: Next) -> Retried:
    row = connection.execute(select(jobs).where(jobs.c.id == job.id)).one()._mapping
    due = following.scheduled_at or row["finished_at"] + timedelta(seconds=following.delay)
    values = {name: row[name] for name in _INHERITED}
    values.update(
        id=new_id(),
        attempt_number=row["attempt_number"] + 1,
        retries=row["retries"] + 1,
        policy_retries=row["policy_retries"] + int(following.by_policy),
        is_retry=True,
        status=Status.PENDING,
        queue=following.queue or row["queue"],
    )
    if following.message is not None:
        connection.execute(messages.insert().values(asdict(following.message)))
        values.update(message_id=following.message.id, expires_at=following.expires_at)
    values.update(timing(literal(due, Timestamp), literal(values["queue"])))
    if row["task"] is None:
        values.update(sent_at=None, send_count=0)  # nobody is to send it: an outside worker comes for it
    stored = connection.execute(
        db.insert(jobs).values(values).returning(jobs.c.id, jobs.c.attempt_number, jobs.c.sent_at)
    ).one()
    wait = max(0.0, (due - row["finished_at"]).total_seconds())
    return Retried(stored.id, stored.attempt_number, due, stored.sent_at, wait)


_INHERITED = [
    "original_id",
    "message_id",
    "task_id",
    "nesting",
    "reuse",
    "max_attempts",
    "retries_enabled",
    "retry_policy",
    "task",
    "priority",
    "tags",
    "expires_at",
    "concurrency_key",
    "concurrency_limit",
    "callback_url",
    "losses",
    "followed",
]


def _already_retried(connection: Connection, job: Claim) -> Retried | None:
    """The retry that this very claim wrote, where the reply to its commit was lost."""
    mine = connection.execute(
        select(jobs.c.id).where(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token)
    ).first()
    row = connection.execute(
        select(jobs).where(of_chains([job.original_id]), jobs.c.attempt_number == job.attempt_number + 1)
    ).first()
    if mine is None or row is None:
        return None
    return Retried(row.id, row.attempt_number, row.scheduled_at, row.sent_at, 0)


def bury(
    db: Database,
    job: Claim,
    failure: Failure,
    duration_ms: int | None = None,
    untold: bool = False,
    cancelled: bool = False,
    patient: bool = True,
) -> Ended | None:
    """processing -> failed, and the chain ends: dead-lettered, or failed_no_retries where retries are off.

    Cancelled instead where a cancel was asked for, or the task says so (`cancelled`); Celery is then still to be told.
    None for who lost the lease (semantics.md sections 2, 10). `untold`: Celery does not know of a failure either;
    `patient`: wait for the database as long as it takes.
    """
    run = db.persist if patient else db.run

    def transition(connection: Connection) -> Ended | None:
        original = lock_original(connection, job.original_id)
        if original is None:
            return None
        if cancelled or original.cancel_requested_at is not None:
            # Celery knows nothing of a job without a task.
            return _end(connection, job, failure, FinalStatus.CANCELLED, duration_ms, untold=job.task is not None)
        return _end(connection, job, failure, verdict_of(job.retries_enabled), duration_ms, untold)

    return run(transition, point="bury")


def verdict_of(retries_enabled: bool) -> FinalStatus:
    """What a chain that has failed for good is called."""
    return FinalStatus.DEAD_LETTERED if retries_enabled else FinalStatus.FAILED_NO_RETRIES


def _end(
    connection: Connection,
    job: Claim,
    failure: Failure,
    verdict: FinalStatus,
    duration_ms: int | None,
    untold: bool = False,
) -> Ended | None:
    cancelled = verdict is FinalStatus.CANCELLED
    is_original = job.id == job.original_id
    own = verdict if is_original or cancelled else FinalStatus.FAILED_WITH_RETRIES
    status = Status.CANCELLED if cancelled else Status.FAILED
    columns = {"duration_ms": duration_ms, "response": failure.response, **failure_columns(failure)}
    if not mark_finished(connection, job, status, own, ends=False, **columns):
        row = connection.execute(select(jobs.c.lease_token, jobs.c.finished_at).where(jobs.c.id == job.id)).first()
        ours = row is not None and row.lease_token == job.lease_token and row.finished_at is not None
        return Ended(job.original_id, verdict) if ours else None
    return end_chain(connection, job.original_id, verdict, failure, untold)


def end_chain(
    connection: Connection,
    original_id: str,
    verdict: FinalStatus,
    failure: Failure | None = None,
    untold: bool = False,
) -> Ended:
    """Write a chain's verdict on its original. `untold`: Celery must still be told by a service."""
    values: dict[str, Any] = {"final_status": verdict, "has_pending_retry": False, "ended_at": now()}
    if verdict is FinalStatus.DEAD_LETTERED:
        values["dead_lettered_at"] = now()
    if untold:
        values["untold_at"] = now()
    if failure is not None:
        values.update(_last_error(failure))
    connection.execute(update(jobs).where(jobs.c.id == original_id).values(values))
    return Ended(original_id, verdict)


def failure_columns(failure: Failure) -> dict[str, Any]:
    """A failure as the columns of its attempt."""
    return {
        "failure_reason": failure.reason,
        "error_type": failure.error_type or None,
        "error_message": failure.message or None,
        "traceback": failure.traceback,
    }


def _last_error(failure: Failure) -> dict[str, Any]:
    return {"last_error_type": failure.error_type, "last_error_message": failure.message}
