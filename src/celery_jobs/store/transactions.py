"""A transaction of the caller's own that jobs are stored in: they are its rows, and are sent after its commit.

SQLAlchemy has no event that comes after the commit of a connection, and a session's own comes too early where it has
joined a wider transaction. So the transaction itself is told to call back: whoever commits it, its `commit` runs.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, RootTransaction, TwoPhaseTransaction
from sqlalchemy.orm import Session, scoped_session

from celery_jobs.errors import InvalidJob
from celery_jobs.store import django_transactions
from celery_jobs.store.migrations import require_beside
from celery_jobs.store.sqlite import provide_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.store.db import AfterCommit, Database

__all__ = ["following", "join", "require_tables"]


def join(db: Database, session: Any) -> AbstractContextManager[tuple[Connection, AfterCommit]]:
    """The connection of a caller's transaction, and who takes what is to follow its commit (semantics.md section 4).

    `session`: a SQLAlchemy Session or Connection, or a Django connection. Raises InvalidJob for anything else, for one
    on another database than the jobs', and for one that commits each statement by itself.
    """
    if db.lends is not None:
        return db.lends(session)
    if django_transactions.is_django(session):
        return django_transactions.join(db, session, _require_same)
    return _join(db, _connection_of(session))


@contextmanager
def following(session: Any) -> Iterator[tuple[AfterCommit, list[Callable[[], None]]]]:
    """Who takes what is to follow the commit of a caller's transaction, on whatever database, and what it has.

    Raises InvalidJob where `join` does, for another database apart.
    """
    if django_transactions.is_django(session):
        with django_transactions.following(session) as found:
            yield found
        return
    connection = _connection_of(session)
    _require_transaction(connection)
    _heed_savepoints(connection)
    waiting = vars(connection)[_TO_FOLLOW] if isinstance(connection.get_transaction(), _Telling) else []
    yield lambda act: _after_commit(connection, act), waiting


def _heed_savepoints(connection: Connection) -> None:
    """Have a savepoint that is rolled back take along what was to follow and came after it."""
    if connection in _heeding:
        return
    _heeding.add(connection)
    earlier: dict[str, int] = {}

    def heed(_: Connection, cursor: Any, statement: str, *more: Any) -> None:
        match statement.split():
            case ["SAVEPOINT", name]:
                earlier[name] = len(vars(connection).get(_TO_FOLLOW, ()))
            case ["ROLLBACK", "TO", "SAVEPOINT", name]:
                del vars(connection).get(_TO_FOLLOW, [])[earlier.get(name, 0) :]

    event.listen(connection, "before_cursor_execute", heed)


_heeding: WeakSet[Connection] = WeakSet()


def require_tables(db: Database, session: Any) -> None:
    """Raise SchemaOutdated where a transaction on SQLite has begun, and finds no tables of ours, or old ones."""
    of_django = django_transactions.is_django(session)
    with django_transactions.lent(session) if of_django else nullcontext(_connection_of(session)) as connection:
        driver: Any = connection.connection.driver_connection
        in_it = getattr(driver, "in_transaction", False)
        if in_it and _identity(connection) == _file(str(db.url.database)) is not None:
            require_beside(db, connection)


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
    with db.asking() as own:
        _identities[db] = _identity(own)
    return _identities[db]


def _identity(connection: Connection) -> Any:
    """What two connections have in common where their `jobs` is one table, however their URLs are spelled."""
    if connection.dialect.name == "sqlite":
        files = {name: file for _, name, file in connection.execute(text("PRAGMA database_list"))}
        return _file(files["main"])
    found = connection.execute(_POSTGRESQL_IDENTITY).one()
    return tuple(found) if found.jobs is not None else None


def _file(path: str) -> Any:
    """What a file is known by under any name; None where there is none."""
    if not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_dev, status.st_ino


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
