"""Rows by many ids: one array where the server knows them. A parameter for each takes longer than the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, any_, bindparam, or_
from sqlalchemy.types import UserDefinedType

from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import ColumnElement, Dialect
    from sqlalchemy.engine import Connection

__all__ = ["among", "array_of", "has_arrays", "of_chains"]


def has_arrays(connection: Connection) -> bool:
    """Whether a parameter may be an array."""
    return connection.dialect.name == "postgresql"


class _Ids(UserDefinedType[Any]):
    """An array of ids that goes to the server as one text: the driver writes an array value by value.

    It is an array from the start. A cast of a text would be read once for each row that is compared with it.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        return "UUID[]"

    def bind_processor(self, dialect: Dialect) -> Any:
        return lambda ids: f"{{{','.join(ids)}}}"


def array_of(ids: Iterable[str]) -> Any:
    """Ids as one parameter."""
    return bindparam(None, list(ids), type_=_Ids())


def among(column: Any, ids: Iterable[str], arrays: bool) -> ColumnElement[bool]:
    """Whether a column is one of these ids; `arrays`: the server knows them."""
    condition: ColumnElement[bool] = column == any_(array_of(ids)) if arrays else column.in_(list(ids))
    return condition


def of_chains(original_ids: Collection[str], arrays: bool = False) -> ColumnElement[bool]:
    """The rows of these chains, in the words of the two indexes that find them: the primary key and `jobs_attempts`."""
    begun, retried = among(jobs.c.id, original_ids, arrays), among(jobs.c.original_id, original_ids, arrays)
    return or_(begun, and_(retried, jobs.c.attempt_number > 1))
