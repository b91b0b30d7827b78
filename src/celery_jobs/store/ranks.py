"""The order in which jobs are to start: by priority, then by the moment from which they are due, then by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from celery_jobs.store.clock import asked_at
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Select, TextClause
    from sqlalchemy.engine import Connection

    Conditions = Sequence[ColumnElement[bool] | TextClause]

__all__ = ["RANK", "Rank", "due_by_rank", "priorities", "rank_of"]

RANK = (jobs.c.priority.desc(), jobs.c.scheduled_at, jobs.c.id)

Rank = tuple[int, Any, str]


def rank_of(job: Any) -> Rank:
    """The same of a row that was read: what is less is to start first."""
    return -job.priority, job.scheduled_at, job.id


def due_by_rank(
    connection: Connection, queue: str, among: Conditions, such: Conditions, limit: int, *columns: Any
) -> list[Any]:
    """At most `limit` due jobs of a queue in this order, locked; what another has locked is passed over.

    `among`: the words of an index by queue, priority, due time and id; `such`: what else they must be. Priority by
    priority from the highest, so that what is not due is not read. Nothing may be sorted (`planning.in_order`).
    """
    found: list[Any] = []
    for priority in priorities(connection, queue, among):
        due = _of(queue, priority, among).where(jobs.c.scheduled_at <= asked_at(), *such)
        chosen = due.with_only_columns(jobs.c.id, *columns).order_by(jobs.c.scheduled_at, jobs.c.id)
        found += connection.execute(chosen.limit(limit - len(found)).with_for_update(skip_locked=True, of=jobs)).all()
        if len(found) >= limit:
            break
    return found


def priorities(connection: Connection, queue: str, among: Conditions) -> Iterator[int]:
    """The priorities that such jobs of a queue have, from the highest."""
    query = select(jobs.c.priority).where(jobs.c.queue == queue, *among).order_by(jobs.c.priority.desc()).limit(1)
    priority = connection.execute(query).scalar()
    while priority is not None:
        yield priority
        priority = connection.execute(query.where(jobs.c.priority < priority)).scalar()


def _of(queue: str, priority: int, among: Conditions) -> Select[Any]:
    return select(jobs.c.id).where(jobs.c.queue == queue, jobs.c.priority == priority, *among)
