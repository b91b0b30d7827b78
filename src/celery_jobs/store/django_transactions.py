"""A transaction of Django's, lent to the store: SQLAlchemy executes on its connection, and Django ends it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime
from sqlalchemy.dialects.sqlite import DATETIME
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.pool import StaticPool

from celery_jobs.errors import InvalidJob
from celery_jobs.store.sqlite import provide_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.store.db import AfterCommit, Database

__all__ = ["following", "is_django", "join", "lent"]

DRIVERS = {"psycopg": "postgresql+psycopg", "psycopg2": "postgresql+psycopg2", "sqlite3": "sqlite"}
"""SQLAlchemy's names of the drivers that Django has, by the package of their errors."""


def is_django(session: Any) -> bool:
    """Whether it is `django.db.connection`, or one of `django.db.connections`."""
    return all(hasattr(session, name) for name in ("in_atomic_block", "alias", "ensure_connection"))


@contextmanager
def join(
    db: Database, django: Any, require_same: Callable[[Database, Connection], None]
) -> Iterator[tuple[Connection, AfterCommit]]:
    """The connection of Django's, inside `atomic` also where none is open: a job is more than one row."""
    with lent(django) as connection:
        require_same(db, connection)
        if db.is_sqlite:
            provide_clock(django.connection, db.clock)
        with following(django) as (after_commit, _):
            yield connection, after_commit


@contextmanager
def following(django: Any) -> Iterator[tuple[AfterCommit, list[Callable[[], None]]]]:
    """Who takes what is to follow the commit of Django's transaction, and what it has; inside `atomic`, as `join`."""
    from django.db import transaction

    with transaction.atomic(using=django.alias, savepoint=False):
        yield partial(transaction.on_commit, using=django.alias), [act for _, act, *_ in django.run_on_commit]


def lent(django: Any) -> Connection:
    """Django's connection as SQLAlchemy's, to be closed again; raises InvalidJob for a driver that we do not know."""
    django.ensure_connection()
    return _engine(django).connect()


def _engine(django: Any) -> Engine:
    """An engine with one connection, Django's, which it never ends and never closes."""
    driver = django.Database.__name__.partition(".")[0]
    if driver not in DRIVERS:
        raise InvalidJob("session", f"a Django connection to PostgreSQL or SQLite is expected, not to {django.vendor}")
    url = make_url(f"{DRIVERS[driver]}:///{django.settings_dict['NAME']}")
    kind: Any = url.get_dialect()
    dialect = kind(dbapi=kind.import_dbapi())
    if dialect.name == "sqlite":
        dialect.colspecs = {**dialect.colspecs, DateTime: _Moment}
    lent = _Lent(django.connection, driver)
    return Engine(StaticPool(lambda: lent, reset_on_return=None), dialect, url)


class _Lent:
    """A driver's connection whose transaction is not SQLAlchemy's to end."""

    def __init__(self, driver_connection: Any, driver: str) -> None:
        self._connection = driver_connection
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self, *args: Any, **options: Any) -> Any:
        """A cursor as the driver makes it: Django's own gives moments in the project's time zone, or without one."""
        if self._driver == "psycopg":
            return _psycopg_cursor(self._connection)
        return self._connection.cursor(*args, **options)

    def commit(self) -> None:
        """Left to Django."""

    rollback = close = commit


def _psycopg_cursor(connection: Any) -> Any:
    import psycopg
    from psycopg.types.datetime import TimestamptzLoader
    from psycopg.types.json import JsonbLoader

    cursor = psycopg.Cursor(connection)
    cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
    cursor.adapters.register_loader("jsonb", JsonbLoader)
    return cursor


class _Moment(DATETIME):
    """A moment of SQLite's that the driver may have read already: Django has taught it to."""

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        read = super().result_processor(dialect, coltype)
        return lambda value: value if isinstance(value, datetime) or read is None else read(value)
