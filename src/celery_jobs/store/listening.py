"""Hearing from PostgreSQL that a followed run has changed, on a connection of the follower's own.

What is heard says only that there is something to look at. So one that is lost, with its connection, costs time and
nothing else: whoever listens looks from time to time anyway.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from celery_jobs.errors import StoreUnavailable
from celery_jobs.store.faults import translated
from celery_jobs.store.forks import gate

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Listener"]

PAUSE_UNHEARD = 1.0
"""Seconds at most that are slept where no connection is to be had."""


class Listener:
    """One follower's connection, which hears of one run; made at first use, and again where it broke."""

    def __init__(self, db: Database, original_id: str) -> None:
        self._db = db
        self._channel = f"celery_jobs_{original_id.replace('-', '')}"
        self._connection: Connection | None = None

    def wait(self, seconds: float) -> None:
        """Wait until something is heard, `seconds` at most; at once where the connection is new.

        One that is new has heard nothing of what was before it: there is something to look at.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            else:
                self._hear(self._connection, seconds)
        except StoreUnavailable:
            time.sleep(min(seconds, PAUSE_UNHEARD))
        except psycopg.Error:
            self.close()  # and the next turn connects again

    def _connect(self) -> Connection:
        with gate, translated(self._db.url):
            connection = self._db.engine.connect()
            try:
                connection.detach()  # the pool has room for another from here on
                connection.exec_driver_sql(f"LISTEN {self._channel}")
            except BaseException:
                connection.close()
                raise
            return connection

    def _hear(self, connection: Connection, seconds: float) -> None:
        driver: Any = connection.connection.dbapi_connection  # once detached it has no other name
        for _ in driver.notifies(timeout=seconds, stop_after=1):
            pass

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it may be broken already
                connection.close()
