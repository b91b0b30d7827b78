"""Opening a PostgreSQL server's database: bounded waits, and sessions that cannot hold others up for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

__all__ = ["make_engine"]

KEPT = 5
"""Connections that a process keeps."""

FROZEN_CLIENT_MS = 5_000


def make_engine(url: URL, timeout: float, room: int) -> Engine:
    """An engine that waits `timeout` seconds for the server or a lock, and has `room` connections at most."""
    sizes = {"pool_size": KEPT, "max_overflow": room - KEPT}
    return create_engine(url, connect_args=_arguments(timeout), pool_timeout=timeout, **sizes)


def _arguments(timeout: float) -> dict[str, Any]:
    session = {
        "timezone": "UTC",
        # A process that is stopped inside a transaction must not hold its locks for ever, nor anybody wait for them.
        "idle_in_transaction_session_timeout": FROZEN_CLIENT_MS,
        "lock_timeout": int(timeout * 1000),
    }
    return {
        "connect_timeout": max(2, int(timeout)),
        "tcp_user_timeout": int(timeout * 1000),
        "keepalives_idle": 30,
        "application_name": "celery-jobs",
        "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
    }
