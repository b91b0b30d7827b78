"""Recording a new job: insert it, or return the one that is already there. The unique indexes decide races."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, select, update

from celery_jobs.sealing import differ
from celery_jobs.store import recordset
from celery_jobs.store.db import insert_into, now
from celery_jobs.store.keys import RELEASED
from celery_jobs.store.new_rows import MADE, row_values, values_of
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.replacing import replace_waiting
from celery_jobs.store.rows import Enqueued, Message, NewJob
from celery_jobs.store.tables import jobs, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Row

    from celery_jobs.store.db import Database

__all__ = ["enqueue", "enqueue_all", "enqueue_in", "insert_job", "insert_jobs"]

TRIES = 5

Accept = Callable[[NewJob, Enqueued], None]
"""May refuse what a job has made or found, by raising."""

GRACE = 1.2
"""A database that is reached may take this much longer to answer: with the default of 2 s, 2.4 of the 3 s allowed."""


def _anything(job: NewJob, enqueued: Enqueued) -> None:
    pass


def enqueue(db: Database, new: NewJob, patient: bool = False, meanwhile: Callable[[], None] | None = None) -> Enqueued:
    """Store a new chain, or find the one with its idempotency key or task id (semantics.md sections 4, 10).

    `patient`: wait for the database as long as it takes; `meanwhile`: what may be done while it works.
    """
    run = db.persist if patient else partial(db.run, within=db.timeout * GRACE)
    if not db.is_sqlite:
        values = {**values_of(new), **_message_values(new.message)}
        row = run(lambda connection: _store.first(connection, values, meanwhile), point="enqueue", alone=True)
        if row is not None:
            return Enqueued(new.id, new.task_id, row["sent_at"], row["due_at"], row["expires_at"])
    return run(partial(insert_job, db, new), point="enqueue")


def _store_statement(is_sqlite: bool) -> Any:
    """A job and its message in one statement; where the job is there already, neither."""
    job = _insert_statement(is_sqlite).cte("job")
    names = [f"message_{column.name}" for column in messages.c]
    made = [bindparam(name, type_=column.type) for name, column in zip(names, messages.c, strict=True)]
    message = messages.insert().from_select([c.name for c in messages.c], select(*made).select_from(job)).cte("message")
    return select(job.c.sent_at, job.c.expires_at, job.c.due_at).add_cte(message)


_store = Prepared(_store_statement)


def _message_values(message: Message) -> dict[str, Any]:
    return {f"message_{name}": getattr(message, name) for name in Message.__slots__}


def enqueue_all(db: Database, new: Sequence[NewJob], accept: Accept = _anything) -> list[Enqueued]:
    """Store many new chains in one transaction, all or none; what each of them made or found, in their order.

    `accept` may refuse by raising, which undoes them all.
    """

    def transition(connection: Connection) -> list[Enqueued]:
        made = insert_jobs(db, new, connection)
        _accept(new, made, accept)
        return made

    return db.run(transition, point="enqueue")


def enqueue_in(
    db: Database,
    session: Any,
    new: Sequence[NewJob],
    accept: Accept = _anything,
    follow: Callable[[list[Enqueued]], None] | None = None,
) -> list[Enqueued]:
    """Store many new chains in a transaction of the caller's own; `follow` is called after its commit, if that comes.

    `session`: see `transactions.join`, which raises InvalidJob. What its driver raises is the caller's to handle, as
    what any other statement of that transaction raises.
    """
    from celery_jobs.store.transactions import join

    refused: Exception | None = None
    with join(db, session) as (connection, after_commit):
        made = insert_jobs(db, new, connection)
        try:
            _accept(new, made, accept)
        except Exception as error:
            refused = error
            _take_back(connection, new, made)
        else:
            if follow is not None:
                after_commit(partial(follow, made))
    if refused is not None:
        raise refused
    return made


def _accept(new: Sequence[NewJob], made: Sequence[Enqueued], accept: Accept) -> None:
    for job, enqueued in zip(new, made, strict=True):
        accept(job, enqueued)


def _take_back(connection: Connection, new: Sequence[NewJob], made: Sequence[Enqueued]) -> None:
    """All or none also where the caller goes on after a refusal, and commits."""
    own = [job for job, enqueued in zip(new, made, strict=True) if not enqueued.deduplicated]
    connection.execute(delete(jobs).where(jobs.c.id.in_([job.id for job in own])))
    connection.execute(delete(messages).where(messages.c.id.in_([job.message.id for job in own])))


def insert_jobs(db: Database, new: Sequence[NewJob], connection: Connection) -> list[Enqueued]:
    """The same inside a transaction that the caller has opened: a statement for many, then those that conflict."""
    if not new:
        return []
    rows = _insert_rows(new, connection) if db.is_sqlite else recordset.insert(new, connection)
    made = {row.id: Enqueued(row.id, row.task_id, row.sent_at, row.due_at, row.expires_at) for row in rows}
    return [made.get(job.id) or insert_job(db, job, connection) for job in new]


def _insert_rows(new: Sequence[NewJob], connection: Connection) -> Sequence[Row[Any]]:
    rows = connection.execute(_insert_statement(True), [values_of(job) for job in new]).all()
    ids = {row.id for row in rows}
    stored = [asdict(job.message) for job in new if job.id in ids]
    if stored:
        connection.execute(messages.insert(), stored)
    return rows


def insert_job(db: Database, new: NewJob, connection: Connection) -> Enqueued:
    """One job inside a transaction that the caller has opened."""
    reuse = 0
    for _ in range(TRIES):
        row = connection.execute(_insert_statement(db.is_sqlite), values_of(new, reuse)).first()
        if row is not None:
            connection.execute(messages.insert().values(asdict(new.message)))
            return Enqueued(new.id, new.task_id, row.sent_at, row.due_at, row.expires_at)
        found = _existing(new, connection)
        if isinstance(found, Enqueued):
            return found
        reuse = found
    raise RuntimeError(f"the job {new.id} could neither be inserted nor found")


@cache
def _insert_statement(is_sqlite: bool) -> Any:
    """The insert of a job, which is judged due, near and unpaused."""
    values = row_values(lambda name, kind: bindparam(name, type_=kind))
    return insert_into(jobs, is_sqlite).values(values).on_conflict_do_nothing().returning(*MADE)


def _existing(new: NewJob, connection: Connection) -> Enqueued | int:
    """The job that is already there, or the `reuse` number under which the task id begins a new chain."""
    mine = connection.execute(_known.where(jobs.c.id == new.id)).first()
    if mine is not None and mine.task_id == new.task_id and mine.body == new.message.body:
        # Our own insert, whose reply was lost: it is as it was made.
        return Enqueued(new.id, new.task_id, mine.sent_at)
    if new.idempotency_key is not None:
        owner = connection.execute(_owner_of_key(new)).first()
        if owner is not None and not owner.key_is_free:
            return (new.replaces and replace_waiting(new, owner.id, connection)) or _found(new, owner)
        if owner is not None:
            connection.execute(_free_key(new))
            return 0
    newest = connection.execute(_newest_chain(new)).first()
    if newest is None:
        return 0
    if newest.ended_at is None or new.adopted or _published_again(new, newest, connection):
        return _found(new, newest)
    return int(newest.reuse) + 1


_known = select(
    jobs.c.id,
    jobs.c.task_id,
    jobs.c.reuse,
    jobs.c.created_at,
    jobs.c.ended_at,
    jobs.c.sent_at,
    messages.c.body,
    messages.c.headers,
).join(messages, messages.c.id == jobs.c.message_id)


def _owner_of_key(new: NewJob) -> Any:
    return _known.add_columns((func.coalesce(jobs.c.key_expires_at <= now(), False)).label("key_is_free")).where(
        jobs.c.idempotency_scope == new.idempotency_scope, jobs.c.idempotency_key == new.idempotency_key
    )


def _free_key(new: NewJob) -> Any:
    """Take a key whose time is over from its owner. Of many who do so at once one does; they all insert then."""
    owned = (jobs.c.idempotency_scope == new.idempotency_scope, jobs.c.idempotency_key == new.idempotency_key)
    return update(jobs).where(*owned, jobs.c.key_expires_at <= now()).values(**RELEASED)


def _newest_chain(new: NewJob) -> Any:
    return (
        _known.where(jobs.c.task_id == new.task_id, jobs.c.nesting == new.nesting, jobs.c.attempt_number == 1)
        .order_by(jobs.c.reuse.desc())
        .limit(1)
    )


def _found(new: NewJob, row: Row[Any]) -> Enqueued:
    mismatch = differ(bytes(row.body), new.message.body)
    return Enqueued(row.id, row.task_id, deduplicated=True, payload_mismatch=mismatch)


def _published_again(new: NewJob, row: Row[Any], connection: Connection) -> bool:
    """A canvas step that a re-run of its parent publishes again is the same job in any state.

    What is older than its publisher was published by another, when a frozen canvas was applied before.
    """
    if not new.is_step or new.root_id is None or json.loads(row.headers).get("root_id") != new.root_id:
        return False
    begun = connection.execute(select(jobs.c.created_at).where(jobs.c.id == new.publisher)).scalar_one_or_none()
    return new.root_id != new.task_id if begun is None else bool(row.created_at >= begun)
