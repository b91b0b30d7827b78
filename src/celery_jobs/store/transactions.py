"""A transaction of the caller's own that jobs are stored in: they are its rows, and are sent after its commit.

SQLAlchemy has no event that comes after the commit of a connection, and a session's own comes too early where it has
joined a wider transaction. So the transaction itself is told to call back: whoever commits it, its `commit` runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import text
from sqlalchemy.engine import Connection, RootTransaction, TwoPhaseTransaction
from sqlalchemy.orm import Session, scoped_session

from celery_jobs.errors import InvalidJob
from celery_jobs.store import django_transactions
from celery_jobs.store.sqlite import provide_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.store.db import Database

__all__ = ["AfterCommit", "join"]

AfterCommit = Callable[[Callable[[], None]], None]
"""Takes what is to be done once the transaction is committed, and only then."""


def join(db: Database, session: Any) -> AbstractContextManager[tuple[Connection, AfterCommit]]:
    """The connection of a caller's transaction, and who takes what is to follow its commit (semantics.md section 4).

    `session`: a SQLAlchemy Session or Connection, or a Django connection. Raises InvalidJob for anything else, for one
    on another database than the jobs', and for one that commits each statement by itself.
    """
    if django_transactions.is_django(session):
        return django_transactions.join(db, session, _require_same)
    return _join(db, _connection_of(session))


def _connection_of(session: Any) -> Connection:
    if hasattr(session, "run_sync"):
        raise InvalidJob("session", f"{type(session).__name__} is used here as {_RUN_SYNC}")
    if isinstance(session, Session | scoped_session):
        return session.connection()
    if isinstance(session, Connection):
        return session
    raise InvalidJob("session", f"a SQLAlchemy Session or Connection, or a Django connection, not {session!r}")


_RUN_SYNC = "await session.run_sync(lambda session: task.apply_async(args, session=session))"


@contextmanager
def _join(db: Database, connection: Connection) -> Iterator[tuple[Connection, AfterCommit]]:
    _require_same(db, connection)
    if db.is_sqlite:
        provide_clock(connection.connection.dbapi_connection, db.clock)
    _require_transaction(connection)
    with _untranslated(connection):
        yield connection, lambda act: _after_commit(connection, act)


def _require_same(db: Database, connection: Connection) -> None:
    """Raise InvalidJob where a connection does not reach the table that the workers read.

    Asked each time: the same connection may have another schema in its search path by now.
    """
    if connection.dialect.name == db.url.get_backend_name():
        found = _identity(connection)
        if found is not None and (found == _identities.get(db) or found == _own_identity(db)):
            return
    raise InvalidJob(
        "session",
        f"it is on another database ({connection.engine.url.render_as_string()}) than jobs_database_url "
        f"({db.url.render_as_string()}), and a transaction ends in one: keep the jobs in that database, "
        "or leave `session` out",
    )


_identities: WeakKeyDictionary[Database, Any] = WeakKeyDictionary()
"""What was last found to be the identity of a database of jobs."""


def _own_identity(db: Database) -> Any:
    with db.reading() as own:
        _identities[db] = _identity(own)
    return _identities[db]


def _identity(connection: Connection) -> Any:
    """What two connections have in common where their `jobs` is one table, however their URLs are spelled."""
    if connection.dialect.name == "sqlite":
        files = {name: file for _, name, file in connection.execute(text("PRAGMA database_list"))}
        status = os.stat(files["main"]) if files["main"] else None
        return status and (status.st_dev, status.st_ino)
    found = connection.execute(_POSTGRESQL_IDENTITY).one()
    return tuple(found) if found.jobs is not None else None


_POSTGRESQL_IDENTITY = text(
    "SELECT pg_postmaster_start_time()::text AS started, current_database()::text AS name,"
    " to_regclass('jobs')::oid::text AS jobs"
)


@contextmanager
def _untranslated(connection: Connection) -> Iterator[None]:
    """The tables of the jobs by their own names, where a caller has those without a schema put into one."""
    schemas = connection.get_execution_options().get("schema_translate_map")
    if not schemas:
        yield
        return
    connection.execution_options(schema_translate_map=None)
    try:
        yield
    finally:
        connection.execution_options(schema_translate_map=schemas)


def _require_transaction(connection: Connection) -> None:
    """Refuse a connection that commits by itself: a job is more than one row."""
    autocommits = connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection)  # type: ignore[arg-type]
    if autocommits and connection.dialect.name == "sqlite":
        # SQLAlchemy's own recipe for savepoints begins by an event what the driver then believes to be none.
        connection.execute(text("SELECT 1"))
        driver: Any = connection.connection.driver_connection
        autocommits = not driver.in_transaction
    if autocommits:
        raise InvalidJob("session", "it is in autocommit mode and has no transaction to join: leave `session` out")


def _after_commit(connection: Connection, act: Callable[[], None]) -> None:
    transaction: Any = connection.get_transaction()
    if not isinstance(transaction, _Telling):
        two_phases = isinstance(transaction, TwoPhaseTransaction)
        transaction.__class__ = _TellingTwoPhaseTransaction if two_phases else _TellingTransaction
        vars(connection)[_TO_FOLLOW] = []
    vars(connection)[_TO_FOLLOW].append(act)


_TO_FOLLOW = "_celery_jobs_to_follow"
"""An attribute of the connection: what is to be done after the commit of the transaction that it is in.

What follows knows the connection too. Kept anywhere else it would keep one alive that its owner has dropped.
"""


class _Telling:
    """A transaction that does, once committed, what was to follow."""

    __slots__ = ()

    connection: Connection

    def commit(self) -> None:
        connection = self.connection
        super().commit()  # type: ignore[misc]
        for act in vars(connection).pop(_TO_FOLLOW, ()):
            act()


class _TellingTransaction(_Telling, RootTransaction):
    __slots__ = ()


class _TellingTwoPhaseTransaction(_Telling, TwoPhaseTransaction):
    __slots__ = ()
