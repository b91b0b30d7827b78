"""A connection of PostgreSQL's driver that commits each statement by itself: a transaction in one round trip."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from celery_jobs.store.postgresql import has_lost_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

__all__ = ["autocommitting"]


@contextmanager
def autocommitting(engine: Engine) -> Iterator[Any]:
    """psycopg's own connection, out of an engine's pool; what it raises, as SQLAlchemy raises it.

    A connection that broke is given up, and with it those beside it.
    """
    pooled: Any = None
    dialect: Any = engine.dialect
    errors: type[Exception] = dialect.loaded_dbapi.Error
    try:
        pooled = engine.raw_connection()
        yield pooled.driver_connection
    except errors as error:
        broken = pooled is not None and (pooled.driver_connection.closed or has_lost_plan(error))
        if broken:
            engine.pool._invalidate(pooled, error)  # what SQLAlchemy does itself, and has no public name for
        raise DBAPIError.instance(None, None, error, errors, connection_invalidated=broken) from error
    finally:
        if pooled is not None and pooled.is_valid:
            if pooled.driver_connection.closed:  # an interruption left an answer on its way
                pooled.invalidate()
            pooled.close()
