"""Opening a PostgreSQL server's database: bounded waits, and sessions that cannot hold others up for ever."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext

__all__ = ["has_lost_plan", "make_engine"]

KEPT = 5
"""Connections that a process keeps."""

FROZEN_CLIENT_MS = 5_000


def make_engine(url: URL, timeout: float, room: int, is_pooled: bool = False) -> Engine:
    """An engine that waits `timeout` seconds for the server or a lock, and has `room` connections at most.

    `is_pooled`: a pooler between gives each transaction another of the server's sessions.
    """
    sizes: dict[str, Any] = {"pool_size": KEPT, "max_overflow": room - KEPT}
    limits, arguments = _limits(timeout), _arguments(timeout)
    if is_pooled:
        # What is set in a session, or prepared, would be left to whoever has it next, and be missing in ours.
        arguments["prepare_threshold"] = None
    else:
        session = {"timezone": "UTC", "datestyle": "ISO", **limits}  # psycopg reads no other moments than ISO's
        arguments["options"] = " ".join(f"-c {name}={value}" for name, value in session.items())
    # Most of what is done is one statement, which commits itself; what is more says that it is a transaction.
    # A transaction is always ended by who began it: a rollback of each connection that comes back would find nothing.
    sizes.update(isolation_level="AUTOCOMMIT", pool_reset_on_return=None)
    engine = create_engine(url, connect_args=arguments, pool_timeout=timeout, **sizes)
    if is_pooled:
        event.listen(engine, "begin", partial(_limit_transaction, limits))
    event.listen(engine, "connect", _read_ids_as_text)
    event.listen(engine, "handle_error", _replace_without_plan)
    return engine


def _read_ids_as_text(driver: Any, _: object) -> None:
    """An id is text here: a UUID made of each, and its text of that, would take longer than the rest of its row."""
    from psycopg.types.string import TextLoader

    driver.adapters.register_loader("uuid", TextLoader)


def has_lost_plan(error: object) -> bool:
    """Whether a connection's prepared statement is no more what it was: the connection is of no use, and a new one is.

    A migration has changed the type of a column that it gives, or a pooler between has led to another session.
    """
    function = getattr(getattr(error, "diag", None), "source_function", None)
    return function == CHANGED_RESULT or getattr(error, "sqlstate", None) in LOST_STATEMENTS


CHANGED_RESULT = "RevalidateCachedQuery"
"""The server's function that says so: neither the code, which is any missing feature's, nor the words are its own."""

LOST_STATEMENTS = ("26000", "42P05")
"""What a server answers of a prepared statement that it does not have, or has already."""


def _replace_without_plan(context: ExceptionContext) -> None:
    if has_lost_plan(context.original_exception):
        context.is_disconnect = True


def _limit_transaction(limits: dict[str, int], connection: Connection) -> None:
    """Say for one transaction what is said of the session elsewhere."""
    driver: Any = connection.connection.driver_connection
    if not driver.autocommit:
        connection.exec_driver_sql("; ".join(f"SET LOCAL {name} = {value}" for name, value in limits.items()))


def _limits(timeout: float) -> dict[str, int]:
    """A process that is stopped inside a transaction must not hold its locks for ever, nor anybody wait for them."""
    return {"idle_in_transaction_session_timeout": FROZEN_CLIENT_MS, "lock_timeout": int(timeout * 1000)}


def _arguments(timeout: float) -> dict[str, Any]:
    return {
        "connect_timeout": max(2, int(timeout)),
        "tcp_user_timeout": int(timeout * 1000),
        "keepalives_idle": 30,
        "application_name": "celery-jobs",
        # Whatever the database's own or PGCLIENTENCODING: `libpq` speaks nothing else. Poolers keep it for each client.
        "client_encoding": "UTF8",
    }
