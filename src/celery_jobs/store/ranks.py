"""The order in which jobs are to start: by priority, then by the moment from which they are due, then by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from celery_jobs.store.clock import asked_at
from celery_jobs.store.queue_names import queue_names
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Select, TextClause
    from sqlalchemy.engine import Connection

    Conditions = Sequence[ColumnElement[bool] | TextClause]

__all__ = ["RANK", "Rank", "due_by_rank", "queues_due", "rank_of"]

RANK = (jobs.c.priority.desc(), jobs.c.scheduled_at, jobs.c.id)

Rank = tuple[int, Any, str]


def rank_of(job: Any) -> Rank:
    """The same of a row that was read: what is less is to start first."""
    return -job.priority, job.scheduled_at, job.id


def due_by_rank(
    connection: Connection,
    queue: str,
    among: Conditions,
    such: Conditions,
    limit: int,
    *columns: Any,
    ahead: float = 0,
) -> list[Any]:
    """At most `limit` jobs of a queue in this order, locked; what another has locked is passed over.

    Those that are due; then, if there is room, those that fall due within `ahead` seconds, by due time. `among`: the
    words of an index by queue, priority, due time and id; `such`: what else they must be. Priority by priority from
    the highest, so that what is not due is not read. Nothing may be sorted (`planning.in_order`). Each row has the id,
    priority and due time, and `columns` beside.
    """
    due: list[Any] = []
    coming: list[Any] = []
    chosen = select(jobs.c.id, jobs.c.priority, jobs.c.scheduled_at, _is_due, *columns)
    for priority in _priorities(connection, queue, among):
        level = chosen.where(jobs.c.queue == queue, jobs.c.priority == priority, *among, *such)
        level = level.where(jobs.c.scheduled_at <= asked_at(ahead)).order_by(jobs.c.scheduled_at, jobs.c.id)
        locked = level.limit(limit - len(due)).with_for_update(skip_locked=True, of=jobs)
        for row in connection.execute(locked):
            (due if row.is_due else coming).append(row)
        if len(due) >= limit:
            return due
    return [*due, *sorted(coming, key=lambda row: (row.scheduled_at, rank_of(row)))][:limit]


_is_due = (jobs.c.scheduled_at <= asked_at()).label("is_due")


def queues_due(among: Conditions, ahead: float) -> Select[tuple[str]]:
    """The names of the queues with such jobs that fall due within `ahead` seconds; one row read for each priority."""
    names = queue_names(*among)
    highest = select(func.max(jobs.c.priority)).where(*among)
    of_queue = highest.where(jobs.c.queue == names.c.name).scalar_subquery()
    levels = select(names.c.name, of_queue.label("priority")).cte("levels", recursive=True)
    lower = highest.where(jobs.c.queue == levels.c.name, jobs.c.priority < levels.c.priority).scalar_subquery()
    levels = levels.union_all(select(levels.c.name, lower).where(levels.c.priority.is_not(None)))
    # The first of each level, rather than whether one is due: only an index gives it, EXISTS would read a table.
    first = select(jobs.c.scheduled_at).where(*among, jobs.c.queue == levels.c.name)
    first = first.where(jobs.c.priority == levels.c.priority).order_by(jobs.c.scheduled_at).limit(1)
    return select(levels.c.name).where(first.scalar_subquery() <= asked_at(ahead)).distinct()


def _priorities(connection: Connection, queue: str, among: Conditions) -> Iterator[int]:
    """The priorities that such jobs of a queue have, from the highest."""
    query = select(jobs.c.priority).where(jobs.c.queue == queue, *among).order_by(jobs.c.priority.desc()).limit(1)
    priority = connection.execute(query).scalar()
    while priority is not None:
        yield priority
        priority = connection.execute(query.where(jobs.c.priority < priority)).scalar()
