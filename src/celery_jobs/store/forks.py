"""Forks and database connections: no process forks while one of its threads is inside the database.

A child inherits every mutex as it is: one that another thread held at that moment stays locked in the child for
ever. And a SQLite connection must not cross a fork at all (https://www.sqlite.org/howtocorrupt.html, 2.6).
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_jobs.store.db import Database

__all__ = ["gate"]

PATIENCE = 5.0
"""Seconds; a fork waits no longer for a statement that hangs."""


class ForkGate:
    """`with gate:` around each use of a database; a fork waits until nobody else is inside."""

    def __init__(self) -> None:
        self.databases: weakref.WeakSet[Database] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._inside = 0
        self._own = threading.local()

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1
        self._own.depth = self._depth + 1

    def __exit__(self, *_: object) -> None:
        self._own.depth = self._depth - 1
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @property
    def _depth(self) -> int:
        """How often this thread is inside."""
        return int(getattr(self._own, "depth", 0))

    def before_fork(self) -> None:
        """Let nobody in, wait for those inside, and close what must not be inherited."""
        self._changed.acquire()
        self._changed.wait_for(lambda: self._inside <= self._depth, PATIENCE)
        for database in self.databases:
            database.before_fork()

    def after_in_parent(self) -> None:
        """Let the others in again."""
        self._changed.release()

    def after_in_child(self) -> None:
        """Begin anew: of all threads only this one is here."""
        self._changed = threading.Condition()
        self._inside = self._depth


gate = ForkGate()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=gate.before_fork, after_in_parent=gate.after_in_parent, after_in_child=gate.after_in_child
    )
