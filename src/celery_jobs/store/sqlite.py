"""Opening a SQLite file: a log that outlives a crash, a clock, and writers that wait for one another."""

from __future__ import annotations

import hashlib
import random
import sqlite3
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import URL, Connection, Engine

__all__ = ["make_engine", "provide_clock"]

BUSY_TIMEOUT = 30.0
"""Seconds that a writer waits for those before it."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.02


def make_engine(url: URL, clock: Callable[[], datetime]) -> Engine:
    """An engine whose connections know `jobs_now(seconds)`, the clock's time, and `jobs_digest(bytes)`."""
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False})
    event.listen(engine, "connect", partial(_prepare, clock))
    event.listen(engine, "begin", _begin)
    return engine


def provide_clock(connection: Any, clock: Callable[[], datetime]) -> None:
    """Give a connection `jobs_now(seconds)`, the clock's time and so many seconds more."""

    def jobs_now(seconds: float) -> str:
        return (clock() + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")

    connection.create_function("jobs_now", 1, jobs_now)


def _prepare(clock: Callable[[], datetime], connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # the driver must not begin: _begin does
    provide_clock(connection, clock)
    connection.create_function("jobs_digest", 1, lambda body: hashlib.sha256(body).hexdigest(), deterministic=True)
    _turn_on_log(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _turn_on_log(connection: sqlite3.Connection) -> None:
    """Where several do it at once, to a new file, SQLite lets one and tells the others without waiting: locked."""
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
        time.sleep(random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails with "database is locked" beside another writer.
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE"))
