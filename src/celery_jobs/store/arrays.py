"""Many ids as one parameter, where the database has arrays: one for each id takes the driver longer than their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Text, any_, bindparam, cast

from celery_jobs.store.tables import Id

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

__all__ = ["array_of", "has_arrays", "is_among"]


def has_arrays(connection: Connection) -> bool:
    """Whether a parameter may be an array."""
    return connection.dialect.name == "postgresql"


def array_of(ids: Collection[str]) -> Any:
    """The ids as one parameter; as text, which nobody takes apart on the way."""
    return cast(bindparam(None, list(ids), type_=ARRAY(Text)), ARRAY(Id))


def is_among(connection: Connection, column: ColumnElement[Any], ids: Collection[str]) -> ColumnElement[bool]:
    """A column of ids is one of these."""
    return column == any_(array_of(ids)) if has_arrays(connection) else column.in_(ids)
