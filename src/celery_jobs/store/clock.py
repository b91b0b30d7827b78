"""The database's clock in SQL, as each database says it: the only one that judges what is due, expired or dead."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Float, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["now", "seconds_until"]


class now(FunctionElement[datetime]):
    """The database's clock, plus `seconds`: the only clock that judges what is due, expired or dead."""

    type = DateTime(timezone=True)
    inherit_cache = True
    name = "now"

    def __init__(self, seconds: ColumnElement[Any] | float = 0) -> None:
        shift = bindparam(None, float(seconds), type_=Float) if isinstance(seconds, int | float) else seconds
        super().__init__(shift)


@compiles(now, "postgresql")
def _postgres_now(element: now, compiler: Any, **options: Any) -> str:
    shift = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {shift}))"


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **options: Any) -> str:
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
