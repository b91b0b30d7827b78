"""Transitions that touch a whole chain: retry, bury, lose, cancel, expire. Each locks the original first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, literal, null, or_, select, update

from celery_jobs.ids import new_id
from celery_jobs.states import LIVE, FailureReason, FinalStatus, Status
from celery_jobs.store.attempts import UNCLAIMED, lock_original, mark_finished
from celery_jobs.store.db import now
from celery_jobs.store.enqueue import SEND_AT_ONCE, is_paused
from celery_jobs.store.rows import Claim, Failure, Message
from celery_jobs.store.tables import Timestamp, jobs, messages

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Ended", "Next", "Retried", "bury", "cancel", "expire", "lose", "mark_told", "retry"]


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
    db: Database, job: Claim, failure: Failure, following: Next, duration_ms: int | None = None
) -> Retried | Ended | None:
    """processing -> failed, and the next attempt pending, in one transaction; None for who lost the lease.

    Where a cancel was asked for, the chain ends as cancelled instead (semantics.md sections 2, 3, 10).
    """
    return db.persist(partial(_retry, db, job, failure, following, duration_ms))


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
    if original.cancel_requested_at is not None:
        return _end(connection, job, failure, FinalStatus.CANCELLED, duration_ms)
    is_original = job.id == job.original_id
    verdict = FinalStatus.RETRYING if is_original else FinalStatus.FAILED_WITH_RETRIES
    if not mark_finished(
        connection, job, Status.FAILED, verdict, ends=False, duration_ms=duration_ms, **_columns(failure)
    ):
        return _already_retried(connection, job)
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.original_id)
        .values(final_status=FinalStatus.RETRYING, has_pending_retry=True, **_last_error(failure))
    )
    return _insert_next(db, connection, job, following)


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
        created_at=now(),
        scheduled_at=due,
        queue=following.queue or row["queue"],
    )
    if following.message is not None:
        connection.execute(messages.insert().values(asdict(following.message)))
        values.update(message_id=following.message.id, expires_at=following.expires_at)
    soon = and_(literal(due, Timestamp) <= now(SEND_AT_ONCE), ~is_paused(literal(values["queue"])))
    values.update(sent_at=case((soon, now()), else_=null()), send_count=case((soon, 1), else_=0))
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
]


def _already_retried(connection: Connection, job: Claim) -> Retried | None:
    """The retry that this very claim wrote, where the reply to its commit was lost."""
    mine = connection.execute(
        select(jobs.c.id).where(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token)
    ).first()
    row = connection.execute(
        select(jobs).where(jobs.c.original_id == job.original_id, jobs.c.attempt_number == job.attempt_number + 1)
    ).first()
    if mine is None or row is None:
        return None
    return Retried(row.id, row.attempt_number, row.scheduled_at, None, 0)


def bury(db: Database, job: Claim, failure: Failure, duration_ms: int | None = None) -> Ended | None:
    """processing -> failed, and the chain ends: dead-lettered, or failed_no_retries where retries are off.

    None for who lost the lease (semantics.md section 2).
    """

    def transition(connection: Connection) -> Ended | None:
        original = lock_original(connection, job.original_id)
        if original is None:
            return None
        cancelled = original.cancel_requested_at is not None
        verdict = FinalStatus.CANCELLED if cancelled else _verdict(job.retries_enabled)
        return _end(connection, job, failure, verdict, duration_ms)

    return db.persist(transition)


def _verdict(retries_enabled: bool) -> FinalStatus:
    return FinalStatus.DEAD_LETTERED if retries_enabled else FinalStatus.FAILED_NO_RETRIES


def _end(
    connection: Connection, job: Claim, failure: Failure, verdict: FinalStatus, duration_ms: int | None
) -> Ended | None:
    cancelled = verdict is FinalStatus.CANCELLED
    is_original = job.id == job.original_id
    own = verdict if is_original or cancelled else FinalStatus.FAILED_WITH_RETRIES
    status = Status.CANCELLED if cancelled else Status.FAILED
    if not mark_finished(connection, job, status, own, ends=False, duration_ms=duration_ms, **_columns(failure)):
        row = connection.execute(select(jobs.c.lease_token, jobs.c.finished_at).where(jobs.c.id == job.id)).first()
        ours = row is not None and row.lease_token == job.lease_token and row.finished_at is not None
        return Ended(job.original_id, verdict) if ours else None
    return end_chain(connection, job.original_id, verdict, failure)


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


def lose(
    db: Database, job_id: str, max_losses: int, lease_token: str | None = None, worker: str | None = None
) -> Ended | bool:
    """processing -> pending after its worker was lost, or the chain's end at the `max_losses`-th loss.

    Guarded by the lease token or the worker. True: pending again; False: the claim no longer stands.
    The chain's end is untold to Celery (semantics.md section 6).
    """
    owner = jobs.c.lease_token == lease_token if lease_token is not None else jobs.c.worker == worker

    def transition(connection: Connection) -> Ended | bool:
        row = connection.execute(select(jobs.c.original_id).where(jobs.c.id == job_id)).first()
        original = lock_original(connection, row.original_id) if row is not None else None
        if row is None or original is None:
            return False
        lost = connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == Status.PROCESSING, owner)
            .values(**UNCLAIMED, losses=jobs.c.losses + 1)
            .returning(jobs.c.losses, jobs.c.retries_enabled)
        ).first()
        if lost is None:
            return False
        if original.cancel_requested_at is not None:
            return _end_pending(connection, job_id, row.original_id, FinalStatus.CANCELLED, None)
        if lost.losses < max_losses:
            return True
        failure = Failure(FailureReason.WORKER_LOST, "WorkerLost", f"its worker was lost {lost.losses} times")
        return _end_pending(connection, job_id, row.original_id, _verdict(lost.retries_enabled), failure)

    return db.run(transition)


def cancel(db: Database, original_id: str, reason: FailureReason | None = None) -> Ended | bool:
    """Cancel a chain: what waits at once; what runs is asked to stop (semantics.md section 10).

    Ended: it waited. True: it runs, and is cancelled unless it returns. False: it has ended already.
    """

    def transition(connection: Connection) -> Ended | bool:
        original = lock_original(connection, original_id)
        if original is None or original.ended_at is not None:
            return False
        live = connection.execute(
            select(jobs.c.id, jobs.c.status).where(jobs.c.original_id == original_id, jobs.c.status.in_(LIVE))
        ).first()
        if live is None:
            return False
        connection.execute(
            update(jobs)
            .where(or_(jobs.c.id == original_id, jobs.c.id == live.id))
            .where(jobs.c.cancel_requested_at.is_(None))
            .values(cancel_requested_at=now())
        )
        failure = None if reason is None else Failure(reason, "", "")
        ended = _end_pending(connection, live.id, original_id, FinalStatus.CANCELLED, failure)
        return ended or True

    return db.run(transition)


def expire(db: Database, job_id: str) -> Ended | bool:
    """pending -> cancelled where the job's `expires` has passed before its claim (semantics.md section 2)."""

    def transition(connection: Connection) -> Ended | bool:
        row = connection.execute(
            select(jobs.c.original_id).where(jobs.c.id == job_id, jobs.c.expires_at <= now())
        ).first()
        if row is None or lock_original(connection, row.original_id) is None:
            return False
        failure = Failure(FailureReason.EXPIRED, "", "its expiry passed before a worker took it")
        return _end_pending(connection, job_id, row.original_id, FinalStatus.CANCELLED, failure)

    return db.run(transition)


def mark_told(db: Database, original_id: str) -> None:
    """Note that Celery has heard a chain's verdict."""
    statement = update(jobs).where(jobs.c.id == original_id).values(untold_at=None)
    db.run(lambda connection: connection.execute(statement))


def _end_pending(
    connection: Connection, job_id: str, original_id: str, verdict: FinalStatus, failure: Failure | None
) -> Ended | bool:
    """Pending -> ended, a verdict that is reached outside a run and that Celery is to be told."""
    cancelled = verdict is FinalStatus.CANCELLED
    own = verdict if cancelled or job_id == original_id else FinalStatus.FAILED_WITH_RETRIES
    done = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == Status.PENDING)
        .values(
            status=Status.CANCELLED if cancelled else Status.FAILED,
            final_status=own,
            finished_at=now(),
            **({} if failure is None else _columns(failure)),
        )
    )
    if done.rowcount != 1:
        return False
    blamed = None if cancelled else failure
    return end_chain(connection, original_id, verdict, blamed, untold=True)


def _columns(failure: Failure) -> dict[str, Any]:
    return {
        "failure_reason": failure.reason,
        "error_type": failure.error_type or None,
        "error_message": failure.message or None,
        "traceback": failure.traceback,
    }


def _last_error(failure: Failure) -> dict[str, Any]:
    return {"last_error_type": failure.error_type, "last_error_message": failure.message}
