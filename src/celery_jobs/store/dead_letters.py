"""The dead-letter queue: replay, purge, and the removal of what is old (semantics.md section 7)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, column, func, literal, select, sql, tuple_, update

from celery_jobs.errors import AlreadyReplayed, JobErased, JobNotEnded, JobNotFound, JobsError
from celery_jobs.states import FinalStatus
from celery_jobs.store import looks, responses
from celery_jobs.store.among import among, array_of, has_arrays, of_chains
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now
from celery_jobs.store.enqueue import insert_jobs
from celery_jobs.store.keys import RELEASED
from celery_jobs.store.tables import Id, Timestamp, jobs, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Enqueued, NewJob

__all__ = [
    "Swept",
    "delete",
    "lock_originals",
    "purge",
    "replay_all",
    "require_replayable",
    "sweep_dead_letters",
    "sweep_history",
]

Reached = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Swept:
    """How many chains were deleted, and where to go on, as `after`; None: nothing old is behind it."""

    chains: int
    reached: Reached | None


def replay_all(db: Database, new: Sequence[NewJob], force: bool = False) -> list[Enqueued | JobsError]:
    """Begin these chains in one transaction, each a replay of the ended run `replay_of`, which keeps its verdict.

    The idempotency key goes over to the new chain. Gives in their order what was begun, or why it was not: JobNotFound,
    JobNotEnded, JobErased, AlreadyReplayed.
    """
    return db.run(partial(_replay, db, new, force), point="replay")


def _replay(db: Database, new: Sequence[NewJob], force: bool, connection: Connection) -> list[Enqueued | JobsError]:
    originals = lock_originals(connection, [str(job.replay_of) for job in new])
    outcomes: dict[str, Enqueued | JobsError] = {}
    allowed: list[NewJob] = []
    for job in new:
        refusal = _refusal(job, originals.get(str(job.replay_of)), force)
        if refusal is None:
            allowed.append(_with_its_key(job, originals[str(job.replay_of)]))
        else:
            outcomes[job.id] = refusal
    marks = {str(job.replay_of): job.id for job in allowed if originals[str(job.replay_of)].replayed_as != job.id}
    if marks:
        _mark_replayed(marks, connection)
    outcomes.update(zip((job.id for job in allowed), insert_jobs(db, allowed, connection), strict=True))
    return [outcomes[job.id] for job in new]


def _with_its_key(new: NewJob, original: Any) -> NewJob:
    """A key that the original has no more may be another job's, which no replay is."""
    if new.idempotency_key is None:
        return new
    is_lost = original.idempotency_key is None
    return replace(new, idempotency_key=None) if is_lost else replace(new, key_expires_at=original.key_expires_at)


def _mark_replayed(marks: Mapping[str, str], connection: Connection) -> None:
    """Note of each original its replay: one statement for them all where the database reads an array as a table."""
    if not has_arrays(connection):
        statement = _MARK_REPLAYED.where(jobs.c.id == bindparam("original", type_=Id))
        values = [{"original": original, "replay": replay} for original, replay in marks.items()]
        connection.execute(statement.values(replayed_as=bindparam("replay", type_=Id)), values)
        return
    lists = func.unnest(array_of(marks.keys()), array_of(marks.values()))
    pair = lists.table_valued(column("original", Id), column("replay", Id)).render_derived(name="pair")
    connection.execute(_MARK_REPLAYED.where(jobs.c.id == pair.c.original).values(replayed_as=pair.c.replay))


_MARK_REPLAYED = update(jobs).values(**RELEASED, replayed_at=now())


def lock_originals(connection: Connection, original_ids: Sequence[str]) -> dict[str, Any]:
    """The originals' rows, locked in the order of their ids, so that two of these never wait for each other."""
    names = ("id", "final_status", "ended_at", "untold_at", "replayed_as", "replayed_at", "erased_at", *RELEASED)
    query = select(*(jobs.c[name] for name in names))
    locked = query.where(among(jobs.c.id, original_ids, has_arrays(connection))).order_by(jobs.c.id).with_for_update()
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
    """Raise JobNotEnded, JobErased or AlreadyReplayed where a run (its original's row) cannot be replayed."""
    if original.ended_at is None:
        raise JobNotEnded(f"the job {original.id} has not ended; only an ended run can be replayed")
    if original.erased_at is not None:
        raise JobErased(f"the job {original.id} was erased; nobody knows any more what it was called with")
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
        locked = lock_originals(connection, original_ids)
        going = [id for id, row in locked.items() if row.untold_at is None and may_go(row)]
        return _delete_chains(connection, going)

    return db.run(transition)


def sweep_dead_letters(
    db: Database, queue: str | None, days: float, others: list[str], limit: int, after: Reached | None = None
) -> Swept:
    """Delete at most `limit` dead letters older than `days`; of `queue`, or of every queue not in `others`."""
    return _sweep(db, jobs.c.dead_lettered_at, days, limit, after, _of_queue(queue, others), jobs.c.untold_at.is_(None))


def sweep_history(
    db: Database, queue: str | None, days: float, others: list[str], limit: int, after: Reached | None = None
) -> Swept:
    """Delete at most `limit` chains, ended outside the dead-letter queue more than `days` ago."""
    outside, told = jobs.c.dead_lettered_at.is_(None), jobs.c.untold_at.is_(None)
    return _sweep(db, jobs.c.ended_at, days, limit, after, _of_queue(queue, others), outside, told)


def _of_queue(queue: str | None, others: list[str]) -> ColumnElement[bool]:
    return jobs.c.queue.not_in(others) if queue is None else jobs.c.queue == queue


def _sweep(
    db: Database, moment: Any, days: float, limit: int, after: Reached | None, *conditions: ColumnElement[bool]
) -> Swept:
    """The oldest first. What other queues keep for longer is passed over, so many rows a transaction, and once."""
    looked_at = select(jobs.c.id, moment.label("at")).where(moment < asked_at(-days * 86_400))
    looked_at = looked_at.order_by(moment, jobs.c.id)
    if after is not None:
        reached = tuple_(literal(after[0], Timestamp), literal(after[1], jobs.c.id.type))
        looked_at = looked_at.where(tuple_(moment, jobs.c.id) > reached)
    some = looked_at.add_columns(and_(*conditions).label("goes")).limit(looks.LOOKED_AT).subquery()
    chosen = select(some.c.at, some.c.id).where(some.c.goes).order_by(some.c.at, some.c.id).limit(limit)

    def transition(connection: Connection) -> Swept:
        old = connection.execute(chosen).all()
        going = select(jobs.c.id).where(among(jobs.c.id, [row.id for row in old], has_arrays(connection)), *conditions)
        locked = connection.execute(going.with_for_update(skip_locked=True)).scalars().all() if old else []
        _delete_chains(connection, list(locked))
        last = (
            old[-1] if len(old) == limit else connection.execute(looked_at.offset(looks.LOOKED_AT - 1).limit(1)).first()
        )
        return Swept(len(locked), None if last is None else (last.at, last.id))

    return db.run(transition, point="sweep")


def _delete_chains(connection: Connection, original_ids: list[str]) -> dict[str, int]:
    """Delete whole chains with their messages and responses; the number of rows of each."""
    if not original_ids:
        return {}
    responses.delete(connection, original_ids)
    of_these = of_chains(original_ids, has_arrays(connection))
    gone = connection.execute(sql.delete(jobs).where(of_these).returning(jobs.c.original_id, jobs.c.message_id)).all()
    # Attempts share messages within their chain only, so none of these is anybody else's.
    theirs = among(messages.c.id, {row.message_id for row in gone}, has_arrays(connection))
    connection.execute(sql.delete(messages).where(theirs))
    return dict(Counter(row.original_id for row in gone))
