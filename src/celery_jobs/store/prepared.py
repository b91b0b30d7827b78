"""A statement that is built and compiled once, for the hot path: each execution is the driver's alone.

SQLAlchemy makes the SQL and knows how each value goes in and comes out. What it would add to every execution, its
cache keys, contexts and result objects, costs more than the statement itself.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Dialect, Executable

    from celery_jobs.store.libpq import ServerStatement

__all__ = ["Prepared"]

Row = dict[str, Any]

FLOAT8 = 701
"""PostgreSQL's number of the one type that must be told apart where numbers are read."""


class Prepared:
    """A statement with named parameters, of which at most one row comes back."""

    def __init__(self, build: Callable[[bool], Executable], kept: bool = True) -> None:
        """`build(is_sqlite)` makes the statement; it is called once for each kind of database.

        `kept`: it is there as long as the process, so that the server may keep it as long as the connection.
        """
        self._statement = cache(build)
        self._kept = kept

    def first(
        self, connection: Connection | Any, values: Mapping[str, Any], meanwhile: Callable[[], None] | None = None
    ) -> Row | None:
        """The row that comes back, by column, if any. `connection`: SQLAlchemy's, or psycopg's own.

        `meanwhile`: what may be done while the server works, where it can be.
        """
        if isinstance(connection, Connection):
            row = connection.execute(self._statement(connection.dialect.name == "sqlite"), values).first()
            return None if row is None else dict(row._mapping)
        return self._compiled.first(connection, values, self._kept, meanwhile)

    @cached_property
    def _compiled(self) -> _Compiled:
        return _Compiled(self._statement(False), _psycopg())


class _Compiled:
    """A statement as PostgreSQL's own library takes it."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        self._statement = statement
        self._dialect = dialect

    @cached_property
    def _sql(self) -> Any:
        return self._statement.compile(dialect=self._dialect)

    @cached_property
    def _parameters(self) -> list[tuple[str, Any]]:
        """Each parameter in the order of its number, with its name."""
        bound = {name: parameter for parameter, name in self._sql.bind_names.items()}
        return [(name, bound[name]) for name in self._sql.positiontup]

    @cached_property
    def _given(self) -> list[tuple[str, Any, Any]]:
        """The same: its name, who prepares it, and what it always is."""
        return [(name, *self._way_in(parameter)) for name, parameter in self._parameters]

    def _way_in(self, bound: Any) -> tuple[Any, Any]:
        prepare = bound.type.dialect_impl(self._dialect).bind_processor(self._dialect)
        if bound.required:
            return prepare, _ASKED
        value = bound.value if prepare is None else prepare(bound.value)
        return None, str(value) if isinstance(value, StrEnum) else value

    @cached_property
    def _columns(self) -> list[tuple[str, Any]]:
        """Each column that comes back, and who reads it."""
        return [
            (column.key, column.type.dialect_impl(self._dialect).result_processor(self._dialect, FLOAT8))
            for column in self._statement.exported_columns
        ]

    @cached_property
    def _on_server(self) -> ServerStatement:
        from celery_jobs.store.libpq import ServerStatement

        return ServerStatement(str(self._sql), [parameter.type for _, parameter in self._parameters])

    def first(
        self, driver: Any, values: Mapping[str, Any], kept: bool, meanwhile: Callable[[], None] | None
    ) -> Row | None:
        from celery_jobs.store.libpq import takes_it

        given = [
            (values[name] if prepare is None else prepare(values[name])) if constant is _ASKED else constant
            for name, prepare, constant in self._given
        ]
        if kept and takes_it(driver):
            row = self._on_server.first(driver, given, meanwhile)
        else:
            row = self._execute(driver, given)
        if row is None:
            return None
        return {
            name: value if read is None else read(value) for (name, read), value in zip(self._columns, row, strict=True)
        }

    def _execute(self, driver: Any, given: list[Any]) -> tuple[Any, ...] | None:
        from psycopg import RawCursor

        row: tuple[Any, ...] | None = RawCursor(driver).execute(str(self._sql), given).fetchone()
        return row


_ASKED = object()
"""Stands for the value of a parameter that each execution gives."""


@cache
def _psycopg() -> Any:
    """The driver's dialect, made where PostgreSQL is used and not where it is not."""
    from sqlalchemy.dialects.postgresql import psycopg

    return psycopg.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
