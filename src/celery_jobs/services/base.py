"""What all services share: their turn under one lock in SQL, and a record of it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from celery_jobs.events import Kind, emit
from celery_jobs.store import services

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.services import Pace, Turn

__all__ = ["Service"]

SAME_TICK = 1.0
"""Seconds; a tick sooner than this after the last turn is the same tick of another beat.

Any later tick has its turn: one that were refused because a worker had just stood in would leave a gap of more
than an interval, in which a job held for little more than 60 s would start late.
"""

OVERDUE = 1.25
"""Of the interval; from then on a worker runs the service in place of beat (semantics.md section 6)."""


class Service(ABC):
    """Something that is done over and over."""

    name: ClassVar[str]

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.settings = plugin.settings

    @property
    @abstractmethod
    def interval(self) -> float:
        """Seconds between two turns."""

    @abstractmethod
    def run_once(self) -> int:
        """Do what is to be done now; gives how many jobs it handled."""

    def tick(self) -> int | None:
        """Take beat's turn; None where another beat or worker has just had it."""
        return self._turn(SAME_TICK)

    @property
    def overdue_after(self) -> float:
        """Seconds after the last turn from which on a worker stands in."""
        return self.interval * OVERDUE

    def run_if_overdue(self) -> int | None:
        """Stand in for a beat that does not tick; None where the service is on time."""
        return self._turn(self.overdue_after)

    @property
    def again_in(self) -> float | None:
        """Seconds until the rest of what this has begun is due; None: nothing is left of it, or another does it."""
        return None

    def _turn(self, age: float) -> int | None:
        turn = services.take(self.plugin.db, self.name, age, self._sign, self._pace)
        if turn is None:
            return None
        handled = self._work(turn) if turn.has_work else 0
        emit(Kind.SERVICE_RAN, service=self.name, handled=handled)
        return handled

    @property
    def _sign(self) -> ColumnElement[bool] | None:
        """What tells whether there is anything to do; None: only a look does."""
        return None

    @property
    def _pace(self) -> Pace | None:
        """How a turn in slices goes on; None: a turn is all that there is to do."""
        return None

    def _work(self, turn: Turn) -> int:
        started = time.monotonic()
        handled = self.run_once()
        services.note(self.plugin.db, self.name, handled, (time.monotonic() - started) * 1000)
        return handled
