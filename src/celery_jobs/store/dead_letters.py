"""The dead-letter queue: replay, purge, and the removal of what is old (semantics.md section 7)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, any_, bindparam, column, func, select, sql, update

from celery_jobs.errors import AlreadyReplayed, JobNotEnded, JobNotFound, JobsError
from celery_jobs.states import FinalStatus
from celery_jobs.store import responses
from celery_jobs.store.db import now
from celery_jobs.store.enqueue import insert_jobs
from celery_jobs.store.tables import Id, jobs, messages, of_chains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Enqueued, NewJob

__all__ = ["delete", "purge", "replay_all", "require_replayable", "sweep_dead_letters", "sweep_history"]


def replay_all(db: Database, new: Sequence[NewJob], force: bool = False) -> list[Enqueued | JobsError]:
    """Begin these chains in one transaction, each a replay of the ended run `replay_of`, which keeps its verdict.

    The idempotency key goes over to the new chain. Gives in their order what was begun, or why it was not: JobNotFound,
    JobNotEnded, AlreadyReplayed.
    """
    return db.run(partial(_replay, db, new, force), point="replay")


def _replay(db: Database, new: Sequence[NewJob], force: bool, connection: Connection) -> list[Enqueued | JobsError]:
    originals = _lock_originals(connection, [str(job.replay_of) for job in new])
    outcomes: dict[str, Enqueued | JobsError] = {}
    allowed: list[NewJob] = []
    for job in new:
        refusal = _refusal(job, originals.get(str(job.replay_of)), force)
        if refusal is None:
            allowed.append(job)
        else:
            outcomes[job.id] = refusal
    marks = {str(job.replay_of): job.id for job in allowed if originals[str(job.replay_of)].replayed_as != job.id}
    if marks:
        _mark_replayed(marks, connection)
    outcomes.update(zip((job.id for job in allowed), insert_jobs(db, allowed, connection), strict=True))
    return [outcomes[job.id] for job in new]


def _mark_replayed(marks: Mapping[str, str], connection: Connection) -> None:
    """Note of each original its replay: one statement for them all where the database reads an array as a table."""
    if not _has_arrays(connection):
        statement = _MARK_REPLAYED.where(jobs.c.id == bindparam("original", type_=Id))
        values = [{"original": original, "replay": replay} for original, replay in marks.items()]
        connection.execute(statement.values(replayed_as=bindparam("replay", type_=Id)), values)
        return
    lists = func.unnest(_ids(marks.keys()), _ids(marks.values()))
    pair = lists.table_valued(column("original", Id), column("replay", Id)).render_derived(name="pair")
    connection.execute(_MARK_REPLAYED.where(jobs.c.id == pair.c.original).values(replayed_as=pair.c.replay))


_MARK_REPLAYED = update(jobs).values(idempotency_key=None, replayed_at=now())


def _has_arrays(connection: Connection) -> bool:
    """Whether a parameter may be an array."""
    return connection.dialect.name == "postgresql"


def _ids(values: Iterable[str]) -> Any:
    return bindparam(None, list(values), type_=ARRAY(Id))


def _lock_originals(connection: Connection, original_ids: Sequence[str]) -> dict[str, Any]:
    """The originals' rows, locked in the order of their ids, so that two of these never wait for each other."""
    names = ("id", "final_status", "ended_at", "untold_at", "replayed_as", "replayed_at")
    query = select(*(jobs.c[name] for name in names))
    # An array where the server knows them: a parameter for each of 500 ids takes the driver longer than their rows.
    is_among = jobs.c.id == any_(_ids(original_ids)) if _has_arrays(connection) else jobs.c.id.in_(original_ids)
    locked = query.where(is_among).order_by(jobs.c.id).with_for_update()
    return {row.id: row for row in connection.execute(locked)}


def _refusal(new: NewJob, original: Any | None, force: bool) -> JobsError | None:
    if original is None:
        return JobNotFound(str(new.replay_of))
    if original.replayed_as == new.id:
        return None  # our own, whose reply was lost: the insert finds it as it was made
    try:
        require_replayable(original, force)
    except JobsError as error:
        return error
    return None


def require_replayable(original: Any, force: bool) -> None:
    """Raise JobNotEnded or AlreadyReplayed where a run (its original's row) cannot be replayed."""
    if original.ended_at is None:
        raise JobNotEnded(f"the job {original.id} has not ended; only an ended run can be replayed")
    if original.replayed_at is not None and not force:
        raise AlreadyReplayed(
            f"the job {original.id} was replayed as {original.replayed_as}; replay it again with force"
        )


def purge(db: Database, original_ids: Sequence[str]) -> dict[str, int]:
    """Delete dead-lettered chains for good; the number of rows deleted of each.

    Left are what is not in the queue, and those whose end Celery has not been told: nobody could tell it then.
    """
    return _remove(db, original_ids, lambda row: row.final_status == FinalStatus.DEAD_LETTERED)


def delete(db: Database, original_ids: Sequence[str]) -> dict[str, int]:
    """Delete ended chains outside the dead-letter queue; the number of rows deleted of each. Others are left."""
    return _remove(
        db, original_ids, lambda row: row.ended_at is not None and row.final_status != FinalStatus.DEAD_LETTERED
    )


def _remove(db: Database, original_ids: Sequence[str], may_go: Callable[[Any], bool]) -> dict[str, int]:
    def transition(connection: Connection) -> dict[str, int]:
        locked = _lock_originals(connection, original_ids)
        going = [id for id, row in locked.items() if row.untold_at is None and may_go(row)]
        return _delete_chains(connection, going)

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

    return db.run(transition, point="sweep")


def _delete_chains(connection: Connection, original_ids: list[str]) -> dict[str, int]:
    """Delete whole chains with their messages and responses; the number of rows of each."""
    if not original_ids:
        return {}
    responses.delete(connection, original_ids)
    gone = connection.execute(
        sql.delete(jobs).where(of_chains(original_ids)).returning(jobs.c.original_id, jobs.c.message_id)
    ).all()
    # Attempts share messages within their chain only, so none of these is anybody else's.
    connection.execute(sql.delete(messages).where(messages.c.id.in_({row.message_id for row in gone})))
    return dict(Counter(row.original_id for row in gone))
