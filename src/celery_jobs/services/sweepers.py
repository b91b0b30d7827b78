"""The sweepers delete what is old: dead letters and history, each by its queue's retention (semantics.md section 7).

A turn sweeps in short slices with long pauses, so that neither a pool's child nor the database is held by it.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING

from celery_jobs.services.base import Service
from celery_jobs.store import audit, dead_letters, services
from celery_jobs.store.services import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.plugin import Plugin
    from celery_jobs.settings import QueueSettings
    from celery_jobs.store.dead_letters import Reached, Swept
    from celery_jobs.store.services import Turn

__all__ = ["DeadLetterSweeper", "HistorySweeper"]

BATCH = 500
"""Chains that one transaction deletes."""

SLICE = 0.25
"""Seconds; no batch begins later in a turn."""

PAUSES = 19
"""Times as long as a slice took until the next: the two sweeps together take a tenth of one connection."""

HASTE = 1
"""The same of a sweep that has gone on for a whole interval: at that pace it would fall behind for ever."""

GRACE = 10.0
"""Seconds that others leave to who has begun a sweep, and remembers how far it came."""


class _Sweeper(Service):
    def __init__(self, plugin: Plugin) -> None:
        super().__init__(plugin)
        self._rest: Iterator[int] | None = None
        """What is left of a sweep that was begun here."""
        self._begun = 0.0
        self._due: float | None = None

    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        return self.settings.sweep_interval

    def run_once(self) -> int:
        """Delete all that is older than its queue keeps it, without a pause; gives how many chains."""
        return sum(self._batches())

    @property
    def again_in(self) -> float | None:
        """Seconds until the next slice of what this has begun; None: it is over, or another goes on with it."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    @property
    def _pace(self) -> Pace:
        return Pace(PAUSES, GRACE) if self._rest is None else Pace(self._pauses, 0)

    @property
    def _pauses(self) -> float:
        return PAUSES if time.monotonic() - self._begun < self.interval else HASTE

    def _turn(self, age: float) -> int | None:
        self._due = None
        try:
            return super()._turn(age)
        finally:
            if self._due is None:
                self._rest = None

    def _work(self, turn: Turn) -> int:
        if self._rest is None:
            self._rest, self._begun = self._batches(), time.monotonic()
        started = time.monotonic()
        swept, is_over = _slice(self._rest, started + SLICE)
        took = time.monotonic() - started
        services.note(self.plugin.db, self.name, swept if is_over else None, took * 1000)
        if not is_over:
            self._due = time.monotonic() + took * self._pauses
        return swept

    def _batches(self) -> Iterator[int]:
        """Sweep, and give how many chains each batch deleted."""
        listed = list(self.settings.queues)
        for name in listed:
            yield from self._queue(name, self.settings.queues[name], [])
        yield from self._queue(None, self.settings.queue_defaults, listed)

    def _queue(self, name: str | None, queue: QueueSettings, others: list[str]) -> Iterator[int]:
        batch = self._batch(name, queue, others, None)
        yield batch.chains
        while batch.reached is not None:
            batch = self._batch(name, queue, others, batch.reached)
            yield batch.chains

    @abstractmethod
    def _batch(self, name: str | None, queue: QueueSettings, others: list[str], after: Reached | None) -> Swept: ...


def _slice(batches: Iterator[int], until: float) -> tuple[int, bool]:
    """Sweep until a moment (time.monotonic); how many chains went, and whether nothing is left."""
    swept = 0
    for chains in batches:
        swept += chains
        if time.monotonic() >= until:
            return swept, False
    return swept, True


class DeadLetterSweeper(_Sweeper):
    """Deletes dead letters older than their queue's `dlq_retention_days`."""

    name = "dead-letter-sweeper"

    def _batch(self, name: str | None, queue: QueueSettings, others: list[str], after: Reached | None) -> Swept:
        days = queue.dlq_retention_days
        return dead_letters.sweep_dead_letters(self.plugin.db, name, days, others, BATCH, after)


class HistorySweeper(_Sweeper):
    """Deletes chains that ended outside the dead-letter queue before `history_retention_days`, and old acts."""

    name = "history-sweeper"

    def _batches(self) -> Iterator[int]:
        yield from super()._batches()
        while audit.sweep(self.plugin.db, self.settings.audit_retention_days, BATCH) == BATCH:
            yield 0

    def _batch(self, name: str | None, queue: QueueSettings, others: list[str], after: Reached | None) -> Swept:
        days = queue.history_retention_days
        return dead_letters.sweep_history(self.plugin.db, name, days, others, BATCH, after)
