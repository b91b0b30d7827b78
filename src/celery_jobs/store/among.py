"""Rows by many ids: one array where the server knows them. A parameter for each takes longer than the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Text, and_, any_, bindparam, or_

from celery_jobs.store.tables import Id, jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

__all__ = ["among", "among_chains", "array_of", "has_arrays"]


def has_arrays(connection: Connection) -> bool:
    """Whether a parameter may be an array."""
    return connection.dialect.name == "postgresql"


def array_of(ids: Iterable[str]) -> Any:
    """Ids as one parameter: text that the server reads, as the driver writes an array value by value."""
    return bindparam(None, f"{{{','.join(ids)}}}", type_=Text).cast(ARRAY(Id))


def among(column: Any, ids: Iterable[str], arrays: bool) -> ColumnElement[bool]:
    """Whether a column is one of these ids; `arrays`: the server knows them."""
    condition: ColumnElement[bool] = column == any_(array_of(ids)) if arrays else column.in_(list(ids))
    return condition


def among_chains(original_ids: Collection[str], arrays: bool) -> ColumnElement[bool]:
    """The rows of many chains, as `of_chains` says it of few."""
    begun, retried = among(jobs.c.id, original_ids, arrays), among(jobs.c.original_id, original_ids, arrays)
    return or_(begun, and_(retried, jobs.c.attempt_number > 1))
