"""A statement that is built and compiled once, for the hot path: each execution is the driver's alone.

SQLAlchemy makes the SQL and knows how each value goes in and comes out. What it would add to every execution, its
cache keys, contexts and result objects, costs more than the statement itself.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Dialect, Executable

__all__ = ["Prepared"]

Row = dict[str, Any]

FLOAT8 = 701
"""PostgreSQL's number of the one type that must be told apart where numbers are read."""


class Prepared:
    """A statement with named parameters, of which at most one row comes back."""

    def __init__(self, build: Callable[[bool], Executable]) -> None:
        """`build(is_sqlite)` makes the statement; it is called once for each kind of database."""
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def first(self, connection: Connection | Any, values: Mapping[str, Any]) -> Row | None:
        """The row that comes back, by column, if any. `connection`: SQLAlchemy's, or psycopg's own."""
        if isinstance(connection, Connection):
            row = connection.execute(self._for(connection.dialect).statement, values).first()
            return None if row is None else dict(row._mapping)
        return self._for(_psycopg()).first(connection, values)

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            statement: Any = self._build(dialect.name == "sqlite")
            found = self._compiled[dialect.name] = _Compiled(statement, dialect)
        return found


class _Compiled:
    """A statement for one kind of database."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        self.statement = statement
        self._dialect = dialect

    @cached_property
    def _sql(self) -> tuple[str, dict[str, Any], list[tuple[str, Any]]]:
        """The text, the values that are always the same, and who prepares each of the others."""
        compiled = self.statement.compile(dialect=self._dialect)
        constants, prepared = {}, []
        for bound, name in compiled.bind_names.items():
            prepare = bound.type.dialect_impl(self._dialect).bind_processor(self._dialect)
            if bound.required:
                prepared.append((name, prepare))
            else:
                constants[name] = bound.value if prepare is None else prepare(bound.value)
        return str(compiled), constants, prepared

    @cached_property
    def _columns(self) -> list[tuple[str, Any]]:
        """Each column that comes back, and who reads it."""
        return [
            (column.key, column.type.dialect_impl(self._dialect).result_processor(self._dialect, FLOAT8))
            for column in self.statement.exported_columns
        ]

    def first(self, connection: Any, values: Mapping[str, Any]) -> Row | None:
        text, constants, prepared = self._sql
        parameters = dict(constants)
        for name, prepare in prepared:
            parameters[name] = values[name] if prepare is None else prepare(values[name])
        cursor = connection.execute(text, parameters)
        row = cursor.fetchone()
        if row is None:
            return None
        return {
            name: value if read is None else read(value) for (name, read), value in zip(self._columns, row, strict=True)
        }


@cache
def _psycopg() -> Any:
    """The driver's dialect, made where PostgreSQL is used and not where it is not."""
    from sqlalchemy.dialects.postgresql import psycopg

    return psycopg.dialect()  # type: ignore[no-untyped-call]
