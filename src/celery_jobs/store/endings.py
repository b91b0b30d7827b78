"""Transitions that reach a chain outside a run: lose, release, cancel, expire. Their verdicts are untold to Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select, update

from celery_jobs.states import LIVE, FailureReason, FinalStatus, Status
from celery_jobs.store.among import of_chains
from celery_jobs.store.attempts import FINISHED, UNCLAIMED, lock_original
from celery_jobs.store.chains import Ended, end_chain, failure_columns, verdict_of
from celery_jobs.store.db import now
from celery_jobs.store.rows import Failure
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Ended", "cancel", "expire", "kill", "lose", "mark_told", "refuse", "release", "release_in"]


def lose(
    db: Database,
    job_id: str,
    max_losses: int,
    lease_token: str | None = None,
    worker: str | None = None,
    patient: bool = False,
) -> Ended | bool:
    """processing -> pending after its worker was lost, or the chain's end at the `max_losses`-th loss.

    Guarded by the lease token or the worker. True: pending again; False: the claim no longer stands.
    The chain's end is untold to Celery (semantics.md section 6). `patient`: wait while the database is away.
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
        times = "once" if lost.losses == 1 else f"{lost.losses} times"
        failure = Failure(FailureReason.WORKER_LOST, "WorkerLost", f"its worker was lost {times}")
        return _end_pending(connection, job_id, row.original_id, verdict_of(lost.retries_enabled), failure)

    run = db.persist if patient else db.run
    return run(transition, point="lose")


def release(db: Database, job_id: str, lease_token: str, patient: bool = True) -> Ended | bool:
    """processing -> pending, nothing burnt, unsent: for a claim that its worker gives back.

    Where a cancel was asked for, the chain ends as cancelled instead. False: the claim no longer stands.
    `patient`: wait while the database is away.
    """
    run = db.persist if patient else db.run
    return run(lambda connection: release_in(connection, job_id, lease_token), point="release")


def release_in(connection: Connection, job_id: str, lease_token: str) -> Ended | bool:
    """The same inside a transaction that the caller has opened."""
    row = connection.execute(select(jobs.c.original_id).where(jobs.c.id == job_id)).first()
    original = lock_original(connection, row.original_id) if row is not None else None
    if row is None or original is None:
        return False
    released = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == Status.PROCESSING, jobs.c.lease_token == lease_token)
        .values(**UNCLAIMED)
    )
    if released.rowcount == 1 and original.cancel_requested_at is not None:
        return _end_pending(connection, job_id, row.original_id, FinalStatus.CANCELLED, None)
    return released.rowcount == 1


def cancel(db: Database, original_id: str, waiting_only: bool = False, terminate: bool = False) -> Ended | bool:
    """Cancel a chain: what waits at once; what runs is asked to stop (semantics.md section 10).

    Ended: it waited. True: it runs, and is cancelled unless it returns. False: it has ended already.
    `waiting_only`: what runs is not asked. `terminate`: its worker is to kill it.
    """

    def transition(connection: Connection) -> Ended | bool:
        original = lock_original(connection, original_id)
        if original is None or original.ended_at is not None:
            return False
        live = connection.execute(
            select(jobs.c.id, jobs.c.status).where(of_chains([original_id]), jobs.c.status.in_(LIVE))
        ).first()
        if live is None:
            return False
        if waiting_only and live.status == Status.PROCESSING:
            return True
        connection.execute(
            update(jobs)
            .where(or_(jobs.c.id == original_id, jobs.c.id == live.id))
            .where(jobs.c.cancel_requested_at.is_(None))
            .values(cancel_requested_at=now())
        )
        if terminate:
            unasked = update(jobs).where(jobs.c.id == live.id, jobs.c.terminate_requested_at.is_(None))
            connection.execute(unasked.values(terminate_requested_at=now()))
        ended = _end_pending(connection, live.id, original_id, FinalStatus.CANCELLED, None)
        return ended or True

    return db.run(transition, point="cancel")


def kill(db: Database, job_id: str, lease_token: str, duration_ms: int | None = None) -> Ended | bool:
    """processing -> cancelled, for an attempt that was cancelled and whose process has just been killed.

    False: the claim no longer stands. Nothing is lost by it, so no loss is counted (semantics.md section 10).
    """

    def transition(connection: Connection) -> Ended | bool:
        row = connection.execute(select(jobs.c.original_id).where(jobs.c.id == job_id)).first()
        if row is None or lock_original(connection, row.original_id) is None:
            return False
        cancelled = {"status": Status.CANCELLED, "final_status": FinalStatus.CANCELLED, "duration_ms": duration_ms}
        done = connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == Status.PROCESSING, jobs.c.lease_token == lease_token)
            .values(**cancelled, **FINISHED)
        )
        return done.rowcount == 1 and end_chain(connection, row.original_id, FinalStatus.CANCELLED, untold=True)

    return db.run(transition, point="kill")


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

    return db.run(transition, point="expire")


def refuse(db: Database, job_id: str, reason: FailureReason, message: str, most: int) -> Ended | bool:
    """Note why a worker cannot run a pending job, which waits for one that can; at the `most`-th send it ends.

    False: the job is not pending (semantics.md section 6).
    """

    def transition(connection: Connection) -> Ended | bool:
        row = connection.execute(select(jobs.c.original_id).where(jobs.c.id == job_id)).first()
        if row is None or lock_original(connection, row.original_id) is None:
            return False
        noted = connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == Status.PENDING)
            .values(failure_reason=reason, error_message=message)
            .returning(jobs.c.send_count, jobs.c.retries_enabled)
        ).first()
        if noted is None or noted.send_count < most:
            return noted is not None
        verdict = verdict_of(noted.retries_enabled)
        return _end_pending(connection, job_id, row.original_id, verdict, Failure(reason, "", message))

    return db.run(transition, point="refuse")


def mark_told(db: Database, original_id: str) -> None:
    """Note that Celery has heard a chain's verdict."""
    statement = update(jobs).where(jobs.c.id == original_id).values(untold_at=None)
    db.run(lambda connection: connection.execute(statement), point="mark_told")


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
            **FINISHED,
            **({} if failure is None else failure_columns(failure)),
        )
    )
    if done.rowcount != 1:
        return False
    blamed = None if cancelled else failure
    return end_chain(connection, original_id, verdict, blamed, untold=True)
