"""Which stored jobs are to be sent to the broker, and what becomes of a send (semantics.md section 5).

`sent_at` is the intention to send: written before sending, cleared where sending failed.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, literal, or_, select, update

from celery_jobs.states import Status
from celery_jobs.store.among import among, has_arrays, of_chains
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now
from celery_jobs.store.new_rows import due_at, is_paused
from celery_jobs.store.planning import by_index, in_order
from celery_jobs.store.queue_names import queue_names
from celery_jobs.store.ranks import due_by_rank, queues_due, rank_of
from celery_jobs.store.reads import MESSAGE
from celery_jobs.store.rows import Message, Outgoing
from celery_jobs.store.tables import Timestamp, jobs, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = [
    "due_queues",
    "expired",
    "fetch",
    "fire",
    "give_marked",
    "hold",
    "in_broker",
    "late_queues",
    "mark_sent",
    "mark_unsent",
    "of_celery",
    "overdue_queues",
    "take_due",
    "take_now",
    "take_overdue",
    "to_send",
    "unexpired",
    "unsent_queues",
    "waiting",
    "waiting_sent",
]

LONGEST_WAIT = 900.0
"""Seconds; the wait before a job is sent again doubles up to here."""

waiting = and_(jobs.c.finished_at.is_(None), jobs.c.status == Status.PENDING)
of_celery = jobs.c.task.is_not(None)
"""What has no task is never sent: outside workers claim it (semantics.md section 10)."""
to_send = (jobs.c.sent_at.is_(None), jobs.c.finished_at.is_(None), of_celery, jobs.c.waits_for.is_(None))
"""Held in SQL, and to be sent when it is due. What waits for a limit is sent when its turn has come (`limits`)."""
unexpired = or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > asked_at())


def take_due(db: Database, queue: str, ahead: float, limit: int) -> list[Outgoing]:
    """Mark as sent, and give, at most `limit` jobs of a queue that fall due within `ahead` seconds.

    What is due by priority, due time and id; what is not yet, if there is room for more, by due time. Row locks let
    several promoters share the work; a paused queue gives none.
    """

    def choose(connection: Connection) -> list[str]:
        in_order(connection)
        sendable = (waiting, unexpired, ~is_paused(literal(queue), asked_at))
        return [row.id for row in due_by_rank(connection, queue, to_send, sendable, limit, ahead=ahead)]

    return db.run(partial(_take, choose, {}), point="take")


def take_now(db: Database, job_ids: Sequence[str]) -> list[Outgoing]:
    """Mark as sent, and give, those of the jobs that are pending, unsent and not of a paused queue."""
    unpaused = ~is_paused(jobs.c.queue, asked_at)
    chosen = select(jobs.c.id).where(jobs.c.id.in_(job_ids), *to_send, waiting, unexpired, unpaused)
    return db.run(partial(_take, _locked(chosen), {}), point="take")


def take_overdue(db: Database, queue: str, after: float, max_sends: int, limit: int) -> list[Outgoing]:
    """Mark as sent again, and give, the oldest `limit` jobs of a queue that nobody claimed.

    Overdue: `after` seconds, doubled with each send up to 900, since the later of sent_at and scheduled_at.
    """
    latest = _latest(after)
    overdue = (
        select(jobs.c.id)
        .where(jobs.c.queue == queue, jobs.c.sent_at < asked_at(-after), waiting, unexpired)
        .where(jobs.c.sent_at <= latest, jobs.c.scheduled_at <= latest)
        .where(jobs.c.send_count < max_sends, ~is_paused(literal(queue), asked_at))
        .order_by(jobs.c.sent_at)
        .limit(limit)
    )
    return db.run(partial(_take, _locked(overdue), {}), point="take")


def _latest(after: float) -> ColumnElement[datetime]:
    """The moment since when a job has waited long enough to be sent again: longer ago with each send.

    A table of steps, as not every database has power().
    """
    doublings = max(0, math.ceil(math.log2(LONGEST_WAIT / after)))
    waits = [(jobs.c.send_count <= n + 1, min(after * 2**n, LONGEST_WAIT)) for n in range(doublings + 1)]
    return case(*((sent, asked_at(-wait)) for sent, wait in waits), else_=asked_at(-LONGEST_WAIT))


def _locked(chosen: Any) -> Callable[[Connection], Sequence[str]]:
    return lambda connection: connection.execute(chosen.with_for_update(skip_locked=True, of=jobs)).scalars().all()


def _take(
    choose: Callable[[Connection], Sequence[str]], mine: dict[str, datetime], connection: Connection
) -> list[Outgoing]:
    """Mark as sent, and give, what is chosen. A repetition after a lost reply finds what it took, by `sent_at`."""
    taken = give_marked(connection, mine)
    if not taken:
        mine.clear()
        mine.update(mark_sent(connection, choose(connection), waiting))
        taken = give_marked(connection, mine)
    return taken


def give_marked(connection: Connection, marked: dict[str, datetime]) -> list[Outgoing]:
    """What is still marked as sent at these moments, in the order in which it is to start."""
    if not marked:
        return []
    rows = connection.execute(_outgoing.where(among(jobs.c.id, marked, has_arrays(connection)), waiting)).all()
    return [_read(row) for row in sorted(rows, key=rank_of) if row.sent_at == marked[row.id]]


def mark_sent(
    connection: Connection, job_ids: Sequence[str], *still: ColumnElement[bool], after: float = 0
) -> dict[str, datetime]:
    """Mark jobs as sent, or as to arrive `after` seconds, where they are `still` so; when, by id."""
    if not job_ids:
        return {}
    taken: Any = connection.execute(
        update(jobs)
        .where(among(jobs.c.id, job_ids, has_arrays(connection)), *still)
        .values(sent_at=now(after), send_count=jobs.c.send_count + 1)
        .returning(jobs.c.id, jobs.c.sent_at)
    )
    return dict(taken.all())


def fetch(db: Database, job_ids: Sequence[str]) -> list[Outgoing]:
    """Give jobs that their transition has already marked as sent."""
    with db.asking() as connection:
        rows = connection.execute(
            _outgoing.where(among(jobs.c.id, job_ids, not db.is_sqlite), jobs.c.sent_at.is_not(None))
        )
        return [_read(row) for row in rows]


def _arrives_at() -> ColumnElement[Any]:
    """When a message is to be worked on: when its job is due, or its turn comes, which is when it counts as sent."""
    return case((jobs.c.sent_at > now(), jobs.c.sent_at), else_=due_at())


_OF_JOB = ("id", "queue", "task", "task_id", "retries", "priority", "edition")
_outgoing = (
    select(
        *(jobs.c[name] for name in _OF_JOB),
        _arrives_at(),
        jobs.c.sent_at,
        jobs.c.expires_at,
        *MESSAGE,
        jobs.c.scheduled_at,
    )
    .select_from(jobs)
    .join(messages, messages.c.id == jobs.c.message_id)
)


def _read(row: Any) -> Outgoing:
    id, queue, task, task_id, retries, priority, edition, due, sent_at, expires_at, *contents, _ = row
    return Outgoing(id, Message(*contents), queue, task, task_id, retries, priority, due, sent_at, expires_at, edition)


def mark_unsent(db: Database, sent: Sequence[tuple[str, datetime]]) -> None:
    """Take back the intention to send (job, sent_at), after sends that failed; the promoter will send them."""
    statement = (
        update(jobs)
        .where(jobs.c.id == bindparam("job_id", type_=jobs.c.id.type))
        .where(jobs.c.sent_at == bindparam("moment", type_=Timestamp), waiting)
        .values(sent_at=None, send_count=jobs.c.send_count - 1)
    )
    values = [{"job_id": job_id, "moment": sent_at} for job_id, sent_at in sent]
    if values:
        db.run(lambda connection: connection.execute(statement, values))


def fire(db: Database, original_ids: Sequence[str]) -> tuple[set[str], list[Outgoing]]:
    """Make what waits in these chains due now; the originals of those, and what is to be sent for it.

    What is on its way and due already is not sent again, what is in a paused queue not before its end, what waits for
    a limit when its turn has come.
    """

    taken: dict[str, datetime] = {}

    def transition(connection: Connection) -> tuple[set[str], list[Outgoing]]:
        # Whoever is at one of them now is about to start, end or retry it: nobody is waited for.
        chosen = select(jobs.c.id, jobs.c.original_id).where(of_chains(original_ids), waiting)
        found = connection.execute(chosen.with_for_update(skip_locked=True, of=jobs)).all()
        ids = [row.id for row in found]
        ahead = or_(jobs.c.sent_at.is_(None), jobs.c.scheduled_at > now())
        due = update(jobs).where(jobs.c.id.in_(ids), waiting, ahead, jobs.c.waits_for.is_(None))
        held = connection.execute(due.values(scheduled_at=now(), sent_at=None).returning(jobs.c.id)).all()
        sent = select(jobs.c.id).where(jobs.c.id.in_([row.id for row in held]), of_celery, ~is_paused(jobs.c.queue))
        return {row.original_id for row in found}, _take(_locked(sent), taken, connection)

    return db.run(transition)


def hold(db: Database, job_id: str) -> bool:
    """Mark a pending job unsent: its message came too early, or its queue is paused. Any limit is asked anew then."""

    def transition(connection: Connection) -> bool:
        done = connection.execute(update(jobs).where(jobs.c.id == job_id, waiting).values(sent_at=None, waits_for=None))
        return done.rowcount == 1

    return db.persist(transition)


def unsent_queues(db: Database, ahead: float) -> list[str]:
    """Names of the queues, but paused ones, that hold jobs in SQL which are to be sent within `ahead` seconds."""
    return _listed(db, due_queues(ahead))


def due_queues(ahead: float) -> Select[tuple[str]]:
    """The same, to be asked within another statement."""
    due = queues_due(to_send, ahead)
    return due.where(~is_paused(due.selected_columns.name, asked_at))


def overdue_queues(db: Database, after: float) -> list[str]:
    """Names of the queues with jobs that were sent `after` seconds ago and nobody has claimed."""
    return _listed(db, late_queues(after))


def late_queues(after: float) -> Select[tuple[str]]:
    """The same, to be asked within another statement."""
    names = queue_names(jobs.c.finished_at.is_(None))
    late = (jobs.c.sent_at < asked_at(-after), jobs.c.scheduled_at < asked_at(-after))
    # The oldest of each, rather than whether there is one: only an index gives it, where EXISTS would read a table.
    oldest = select(jobs.c.sent_at).where(jobs.c.queue == names.c.name, waiting, *late).order_by(jobs.c.sent_at)
    return select(names.c.name).where(oldest.limit(1).scalar_subquery().is_not(None))


def _listed(db: Database, query: Any) -> list[str]:
    with db.asking() as connection:
        return list(connection.execute(query).scalars())


def waiting_sent(db: Database, queue: str, most: int) -> int:
    """How many due jobs of a queue are pending and sent, counted up to `most`."""
    some = select(jobs.c.id).where(
        jobs.c.queue == queue, jobs.c.sent_at.is_not(None), waiting, jobs.c.scheduled_at <= asked_at()
    )
    with db.reading() as connection:
        by_index(connection)
        return int(connection.execute(select(func.count()).select_from(some.limit(most).subquery())).scalar_one())


def in_broker(db: Database, queue: str) -> list[str]:
    """Originals with a job that is pending and has been sent to a queue, oldest first."""
    query = select(jobs.c.original_id).where(jobs.c.queue == queue, jobs.c.sent_at.is_not(None), waiting)
    return _listed(db, query.order_by(jobs.c.id))


def expired(db: Database, limit: int) -> list[str]:
    """Ids of pending jobs whose expiry has passed, the first of them first."""
    query = select(jobs.c.id).where(waiting, jobs.c.expires_at <= asked_at())
    return _listed(db, query.order_by(jobs.c.expires_at).limit(limit))
