"""The dead-letter queue: replay, purge, and the removal of what is old (semantics.md section 7)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from celery_jobs.errors import AlreadyReplayed, JobNotEnded, JobNotFound, NotDeadLettered
from celery_jobs.states import FinalStatus
from celery_jobs.store.attempts import lock_original
from celery_jobs.store.db import now
from celery_jobs.store.enqueue import insert_job
from celery_jobs.store.rows import Enqueued, NewJob
from celery_jobs.store.tables import jobs, messages

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["purge", "replay", "require_replayable", "sweep_dead_letters", "sweep_history"]


def replay(db: Database, new: NewJob, force: bool = False) -> Enqueued:
    """Begin the chain `new`, a replay of the ended run `new.replay_of`, which keeps its verdict.

    The idempotency key goes over to the new chain. Raises JobNotFound, JobNotEnded, AlreadyReplayed.
    """
    return db.run(partial(_replay, db, new, force))


def _replay(db: Database, new: NewJob, force: bool, connection: Connection) -> Enqueued:
    original_id = str(new.replay_of)
    if lock_original(connection, original_id) is None:
        raise JobNotFound(original_id)
    row = connection.execute(
        select(jobs.c.id, jobs.c.ended_at, jobs.c.replayed_as, jobs.c.replayed_at).where(jobs.c.id == original_id)
    ).one()
    if row.replayed_as == new.id:
        return Enqueued(new.id, new.task_id)  # our own, whose reply was lost
    require_replayable(row, force)
    connection.execute(
        update(jobs).where(jobs.c.id == original_id).values(idempotency_key=None, replayed_at=now(), replayed_as=new.id)
    )
    return insert_job(db, new, connection)


def require_replayable(original: Any, force: bool) -> None:
    """Raise JobNotEnded or AlreadyReplayed where a run (its original's row) cannot be replayed."""
    if original.ended_at is None:
        raise JobNotEnded(f"the job {original.id} has not ended; only an ended run can be replayed")
    if original.replayed_at is not None and not force:
        raise AlreadyReplayed(
            f"the job {original.id} was replayed as {original.replayed_as}; replay it again with force"
        )


def purge(db: Database, original_id: str) -> int:
    """Delete a dead-lettered chain for good; gives the number of rows deleted.

    Raises JobNotFound and NotDeadLettered.
    """

    def transition(connection: Connection) -> int:
        original = lock_original(connection, original_id)
        if original is None:
            raise JobNotFound(original_id)
        if original.final_status != FinalStatus.DEAD_LETTERED:
            raise NotDeadLettered(f"the job {original_id} is not in the dead-letter queue")
        return _delete_chains(connection, [original_id])

    return db.run(transition)


def sweep_dead_letters(db: Database, queue: str | None, days: float, others: list[str], limit: int) -> int:
    """Delete at most `limit` dead letters older than `days`; of `queue`, or of every queue not in `others`."""
    old = select(jobs.c.id).where(jobs.c.dead_lettered_at.is_not(None), jobs.c.dead_lettered_at < now(-days * 86_400))
    old = old.where(jobs.c.untold_at.is_(None))
    return _sweep(db, _of_queue(old, queue, others).order_by(jobs.c.dead_lettered_at), limit)


def sweep_history(db: Database, queue: str | None, days: float, others: list[str], limit: int) -> int:
    """Delete at most `limit` chains, ended outside the dead-letter queue more than `days` ago."""
    old = select(jobs.c.id).where(
        jobs.c.ended_at < now(-days * 86_400), jobs.c.dead_lettered_at.is_(None), jobs.c.untold_at.is_(None)
    )
    return _sweep(db, _of_queue(old, queue, others).order_by(jobs.c.ended_at), limit)


def _of_queue(query: Any, queue: str | None, others: list[str]) -> Any:
    return query.where(jobs.c.queue.not_in(others) if queue is None else jobs.c.queue == queue)


def _sweep(db: Database, old: Any, limit: int) -> int:
    def transition(connection: Connection) -> int:
        locked = old.limit(limit).with_for_update(skip_locked=True)
        ids = [row.id for row in connection.execute(locked)]
        if ids:
            _delete_chains(connection, ids)
        return len(ids)

    return db.run(transition)


def _delete_chains(connection: Connection, original_ids: list[str]) -> int:
    gone = connection.execute(
        delete(jobs)
        .where((jobs.c.id.in_(original_ids)) | (jobs.c.original_id.in_(original_ids) & (jobs.c.attempt_number > 1)))
        .returning(jobs.c.message_id)
    )
    message_ids = [row.message_id for row in gone]
    # Attempts share messages within their chain only, so none of these is anybody else's.
    connection.execute(delete(messages).where(messages.c.id.in_(set(message_ids))))
    return len(message_ids)
