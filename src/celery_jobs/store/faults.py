"""What a driver's error says of the jobs database, in our words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from celery_jobs import failpoints
from celery_jobs.errors import SchemaOutdated, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

__all__ = ["READ_ONLY", "translated", "was_stale"]

READ_ONLY, INTERNAL = "25006", "XX000"
CANNOT_NOW = (READ_ONLY, INTERNAL)
"""What a server answers that takes no writes, as a standby, or whose file system refuses: no fault of the statement.

The driver has no class for them that says so.
"""
STATES = {
    "53100": "is full",
    "SQLITE_FULL": "is full",
    READ_ONLY: "takes no writes",
    "SQLITE_READONLY": "takes no writes",
    "55P03": "is locked by another transaction",
}
"""What is wrong with a database that answers, by the code of its answer."""


POOLERS_REFUSAL = "unsupported startup parameter"
"""What PgBouncer says to who sets up a session as one of its own."""


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise StoreUnavailable or SchemaOutdated for what the driver says; what is a fault of the statement as it is."""
    try:
        yield
    except (OperationalError, ProgrammingError) as error:
        if _is_missing_table(error):
            raise SchemaOutdated(
                f"the jobs database {url.render_as_string()} has no tables of this version; "
                "run: celery -A <your app> jobs migrate"
            ) from error
        if isinstance(error, ProgrammingError) and not error.connection_invalidated:
            raise
        raise _unavailable(url, error) from error
    except (PoolTimeout, failpoints.Lost) as error:
        raise _unavailable(url, error) from error
    except DBAPIError as error:
        if not (error.connection_invalidated or _code_of(error.orig) in CANNOT_NOW):
            raise
        raise _unavailable(url, error) from error


def was_stale(error: StoreUnavailable) -> bool:
    """Whether a connection broke that may just have been old."""
    cause = error.__cause__
    return isinstance(cause, failpoints.Lost) or (isinstance(cause, DBAPIError) and cause.connection_invalidated)


def _unavailable(url: URL, error: Exception) -> StoreUnavailable:
    cause = getattr(error, "orig", None) or error
    state, said = STATES.get(_code_of(cause), "does not answer"), str(cause).strip()
    hint = " (a pooler's answer: set jobs_database_pooler = True)" if POOLERS_REFUSAL in said else ""
    return StoreUnavailable(f"the jobs database {url.render_as_string()} {state}: {said}{hint}")


def _is_missing_table(error: DBAPIError) -> bool:
    words = ("no such table", "no such column", "has no column named")
    return _code_of(error.orig) in ("42P01", "42703") or any(word in str(error.orig) for word in words)


def _code_of(error: object) -> str:
    """How the server names an error, or SQLite."""
    return str(getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", ""))
