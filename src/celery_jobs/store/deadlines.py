"""Bounding how long a server that answers nothing, its connection up, can hold whoever asked it.

A frozen server's kernel goes on acknowledging, so neither TCP's timeouts nor the driver's see that nothing comes.
One thread a process watches the statements that are under way, and shuts down the socket of one that takes too long:
the driver then says that the connection was lost.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["deadlines"]

LOOK = 0.1
"""Seconds between two looks while something is under way."""


def _real(name: str) -> Any:
    """A module as it is without eventlet: psycopg does not know it, and blocks every greenlet, this one too."""
    patcher: Any = sys.modules.get("eventlet.patcher")
    return patcher.original(name) if patcher and patcher.is_monkey_patched("thread") else import_module(name)


socket, threading, time = _real("socket"), _real("threading"), _real("time")


class Deadlines:
    """`with deadlines.until(fd, moment):` around what may hang; a moment of time.monotonic()."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[int, float]] = {}
        self._watched = False

    @contextmanager
    def until(self, fd: int, moment: float) -> Iterator[None]:
        """Shut down the socket `fd` if this takes longer than to `moment`."""
        token = object()
        with self._changed:
            self._due[token] = (fd, moment)
            self._watch()
        try:
            yield
        finally:
            with self._changed:  # from here on the number may be another socket's
                self._due.pop(token, None)

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._run, name="celery-jobs-deadlines", daemon=True).start()
        elif len(self._due) == 1:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                self._end_overdue(time.monotonic())
            time.sleep(LOOK)

    def _end_overdue(self, now: float) -> None:
        for token, (fd, moment) in list(self._due.items()):
            if moment <= now:
                del self._due[token]
                _shut_down(fd)

    def after_in_child(self) -> None:
        """Begin anew: the thread is not here."""
        self.__init__()  # type: ignore[misc]


def _shut_down(fd: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


deadlines = Deadlines()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=deadlines.after_in_child)
