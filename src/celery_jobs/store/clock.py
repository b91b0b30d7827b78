"""The database's clock in SQL, as each database says it: the only one that judges what is due, expired or dead.

It is asked in two ways. `now` goes on while a statement runs: for what is written, and for guards, as a statement that
has waited for a lock is to judge by the time at which it got it. `asked_at` stands still: for what is searched, as no
index can be searched by a clock that may say another time for each row.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Float, bindparam, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["asked_at", "now", "seconds_until"]


_NOT_AT_ALL: Any = literal_column("0.0")


class _Moment(FunctionElement[datetime]):
    """A moment of the database's clock, plus `seconds`."""

    type = DateTime(timezone=True)
    inherit_cache = True

    def __init__(self, seconds: ColumnElement[Any] | float = 0) -> None:
        if isinstance(seconds, int | float):
            seconds = bindparam(None, float(seconds), type_=Float) if seconds else _NOT_AT_ALL
        super().__init__(seconds)

    @property
    def is_shifted(self) -> bool:
        """Whether there is anything to add."""
        return all(clause is not _NOT_AT_ALL for clause in self.clauses)


class now(_Moment):
    """The time at which this is reached, plus `seconds`: for values that are written, and for guards."""

    inherit_cache = True
    name = "now"


class asked_at(_Moment):
    """The time at which the statement began, plus `seconds`: for conditions that search.

    PostgreSQL calls `clock_timestamp()` volatile and takes it for no condition of an index: a promoter would read a
    million delayed jobs to find the ten that are due. Never for what is written, nor for the guard of a claim.
    """

    inherit_cache = True
    name = "asked_at"


@compiles(now, "postgresql")
def _postgres_now(element: now, compiler: Any, **options: Any) -> str:
    return _shifted("clock_timestamp()", element, compiler, options)


@compiles(asked_at, "postgresql")
def _postgres_asked_at(element: asked_at, compiler: Any, **options: Any) -> str:
    return _shifted("statement_timestamp()", element, compiler, options)


def _shifted(moment: str, element: _Moment, compiler: Any, options: dict[str, Any]) -> str:
    if not element.is_shifted:
        return moment
    return f"({moment} + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(asked_at, "sqlite")
@compiles(now, "sqlite")
def _sqlite_now(element: _Moment, compiler: Any, **options: Any) -> str:
    return f"jobs_now({compiler.process(element.clauses, **options)})"


class seconds_until(FunctionElement[float]):
    """Seconds from the database's now to a moment, below 0 when it has passed."""

    type = Float()
    inherit_cache = True
    name = "seconds_until"


@compiles(seconds_until, "postgresql")
def _postgres_seconds_until(element: seconds_until, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"EXTRACT(epoch FROM {moment} - clock_timestamp())::float8"


@compiles(seconds_until, "sqlite")
def _sqlite_seconds_until(element: seconds_until, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"((julianday({moment}) - julianday(jobs_now(0))) * 86400.0)"
