"""The names in a column of such jobs, as of their queues: read from one to the next, however many jobs each has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, TextClause

__all__ = ["names_in", "queue_names"]


def queue_names(*conditions: ColumnElement[bool] | TextClause) -> CTE:
    """A table of the `name` of their queues, in order: see `names_in`."""
    return names_in(jobs.c.queue, *conditions)


def names_in(column: Any, *conditions: ColumnElement[bool] | TextClause) -> CTE:
    """A table of each `name` in a column, in order. `conditions`: those of an index that begins with it, and no others.

    PostgreSQL has no scan that skips what is equal: DISTINCT would read every entry of the index.
    """
    first = select(func.min(column).label("name")).where(*conditions)
    found = first.cte("found", recursive=True)
    following = select(func.min(column)).where(*conditions, column > found.c.name).scalar_subquery()
    found = found.union_all(select(following).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None)).cte("names")
