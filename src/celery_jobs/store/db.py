"""The connection to the jobs database: one engine a process, transactions, and the database's clock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url

from celery_jobs import failpoints
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.store.autocommit import autocommitting
from celery_jobs.store.clock import now, seconds_until
from celery_jobs.store.deadlines import deadlines
from celery_jobs.store.faults import translated, was_stale
from celery_jobs.store.forks import gate
from celery_jobs.store.postgresql import make_engine as postgresql_engine
from celery_jobs.store.sqlite import make_engine as sqlite_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Table
    from sqlalchemy.dialects.postgresql.dml import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite.dml import Insert as SqliteInsert
    from sqlalchemy.engine.interfaces import IsolationLevel

    from celery_jobs.sealing import Sealer

__all__ = ["AfterCommit", "Database", "Lending", "insert_into", "now", "seconds_until"]

T = TypeVar("T")

AfterCommit = Callable[[Callable[[], None]], None]
"""Takes what is to be done once a caller's transaction is committed, and only then."""

Lending = Callable[[Any], "AbstractContextManager[tuple[Connection, AfterCommit]]"]
"""Gives what to write on, in place of a caller's transaction, and who takes what is to follow its commit."""

ROOM = 25
"""Connections to a server that a process has at most where nothing else is said."""

LONGEST_ANSWER = 60.0
"""Seconds; a server that has not answered a transition by then is lost, and asked again on a new connection."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


def insert_into(table: Table, is_sqlite: bool) -> PostgresInsert | SqliteInsert:
    """An INSERT that knows ON CONFLICT."""
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """One jobs database. Connections are made at first use and never shared over a fork.

    `timeout`: seconds to reach it; `clock`: the time of a SQLite file, which has none of its own (a moment in UTC);
    `is_pooled`: it is a server behind a pooler that gives each transaction another session.
    """

    def __init__(
        self, url: str, timeout: float = 2, clock: Callable[[], datetime] = _utc_now, is_pooled: bool = False
    ) -> None:
        self.url: URL = _with_driver(make_url(url))
        self.timeout = timeout
        self.is_pooled = is_pooled
        self.clock = clock
        self.lends: Lending | None = None
        """What a sandbox makes of a transaction of a caller's own; None: it is joined."""
        self.sealer: Sealer | None = None
        """What opens what jobs hold, where it is sealed."""
        self._engine: Engine | None = None
        self._pid = 0
        self._room = ROOM
        self._making = threading.Lock()
        gate.databases.add(self)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> Engine:
        """This process's engine; a forked child makes its own."""
        if self._engine is None or self._pid != os.getpid():
            with self._making:
                self._make()
        assert self._engine is not None
        return self._engine

    def _make(self) -> None:
        if self._engine is not None and self._pid == os.getpid():
            return  # another thread was first
        if self._engine is not None:
            self._engine.dispose(close=False)
        if self.is_sqlite:
            self._engine = sqlite_engine(self.url, self.clock)
        else:
            self._engine = postgresql_engine(self.url, self.timeout, self._room, self.is_pooled)
        self._pid = os.getpid()

    def make_room(self, threads: int) -> None:
        """Let so many threads of this process have a connection to a server at once, if that is more than could."""
        with self._making:
            if threads > self._room and not self.is_sqlite:
                self._room = threads
                self.dispose()
                self._pid = 0

    def before_fork(self) -> None:
        """Close what a child must not inherit; the next use connects again."""
        if self.is_sqlite:
            self.dispose()

    def dispose(self) -> None:
        """Close this process's connections; one that is in use, when it comes back."""
        if self._engine is not None and self._pid == os.getpid():
            left = self._engine.pool
            self._engine.dispose()
            event.listen(left, "checkin", lambda _, record: record.invalidate())  # else whoever collects it is warned

    @contextmanager
    def transaction(self, within: float = LONGEST_ANSWER) -> Iterator[Connection]:
        """One writing transaction of at most `within` seconds.

        Raises StoreUnavailable or SchemaOutdated for what the driver says.
        """
        with (
            gate,
            translated(self.url),
            self.engine.connect() as connection,
            self._bounded(connection.connection.driver_connection, within),
        ):
            if not self.is_sqlite:
                connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection

    @contextmanager
    def alone(self, within: float = LONGEST_ANSWER) -> Iterator[Any]:
        """A connection whose one statement is its own transaction, of at most `within` seconds: one round trip.

        It is the driver's on PostgreSQL, for a `Prepared`. Raises as `transaction` does.
        """
        if self.is_sqlite or failpoints.armed is not None:  # which strike between a statement and its commit
            with self.transaction(within) as connection:
                yield connection
            return
        with gate, translated(self.url), autocommitting(self.engine) as driver, self._bounded(driver, within):
            yield driver

    def _bounded(self, driver: Any, within: float) -> AbstractContextManager[None]:
        """A server that freezes under an open connection is lost; a SQLite file has its busy timeout."""
        return nullcontext() if self.is_sqlite else deadlines.until(driver.fileno(), time.monotonic() + within)

    @contextmanager
    def reading(self, within: float = LONGEST_ANSWER) -> Iterator[Connection]:
        """One consistent read of several statements, of at most `within` seconds, which blocks nobody."""
        with self._reading("REPEATABLE READ", within) as connection:
            yield connection

    @contextmanager
    def asking(self, within: float = LONGEST_ANSWER) -> Iterator[Connection]:
        """The same for one statement, which is consistent by itself: one round trip."""
        with self._reading("AUTOCOMMIT", within) as connection:
            yield connection

    @contextmanager
    def _reading(self, level: IsolationLevel, within: float) -> Iterator[Connection]:
        with (
            gate,
            translated(self.url),
            self.engine.connect() as connection,
            self._bounded(connection.connection.driver_connection, within),
        ):
            if self.is_sqlite:
                connection.execution_options(sqlite_begin="BEGIN")
            else:
                connection.execution_options(isolation_level=level)
            with connection.begin():
                yield connection

    def run(
        self,
        transition: Callable[[Any], T],
        within: float = LONGEST_ANSWER,
        point: str | None = None,
        alone: bool = False,
    ) -> T:
        """Run one transition in one transaction, once more where a stale connection broke under it.

        Safe because transitions are guarded and ids are made by the client. `within`: seconds for both together,
        beside what connecting takes; `point`: the name of its failpoints; `alone`: it is one statement, a `Prepared`.
        """
        until = time.monotonic() + within
        try:
            return self._run(transition, within, point, alone)
        except StoreUnavailable as error:
            if time.monotonic() >= until:
                raise StoreUnavailable(
                    f"the jobs database {self.url.render_as_string()} does not answer (waited {within:g} s)"
                ) from error.__cause__
            if not was_stale(error):
                raise
        return self._run(transition, until - time.monotonic(), point, alone)

    def _run(self, transition: Callable[[Any], T], within: float, point: str | None, alone: bool) -> T:
        if failpoints.armed is None or point is None:
            with self.alone(within) if alone else self.transaction(within) as connection:
                return transition(connection)
        with translated(self.url):
            with self.transaction(within) as connection:
                failpoints.reach(f"{point}.begun")
                value = transition(connection)
                failpoints.reach(f"{point}.written")
            failpoints.reach(f"{point}.committed")
            return value

    def persist(
        self,
        transition: Callable[[Any], T],
        within: float = LONGEST_ANSWER,
        point: str | None = None,
        alone: bool = False,
    ) -> T:
        """Run one transition, waiting for the database as long as it takes (0.1 s doubling to 5 s), and saying so.

        `within`: seconds of one try; the rest as for `run`.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return self.run(transition, within, point, alone)
            except StoreUnavailable as error:
                emit(Kind.STORE_UNAVAILABLE, error=str(error))
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def insert(self, table: Table) -> PostgresInsert | SqliteInsert:
        """An INSERT that knows ON CONFLICT."""
        return insert_into(table, self.is_sqlite)


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url
