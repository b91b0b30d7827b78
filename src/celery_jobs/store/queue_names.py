"""The names of the queues that have such jobs: read from one name to the next, however many jobs there are of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, TextClause

__all__ = ["queue_names"]


def queue_names(*conditions: ColumnElement[bool] | TextClause) -> CTE:
    """A table of their `name`, in order. `conditions`: those of an index that begins with the queue, and no others.

    PostgreSQL has no scan that skips what is equal: DISTINCT would read every entry of the index.
    """
    first = select(func.min(jobs.c.queue).label("name")).where(*conditions)
    found = first.cte("found", recursive=True)
    following = select(func.min(jobs.c.queue)).where(*conditions, jobs.c.queue > found.c.name).scalar_subquery()
    found = found.union_all(select(following).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None)).cte("names")
