"""The sweepers delete what is old: dead letters and history, each by its queue's retention (semantics.md section 7)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from celery_jobs.services.base import Service
from celery_jobs.store import dead_letters

if TYPE_CHECKING:
    from celery_jobs.settings import QueueSettings

__all__ = ["DeadLetterSweeper", "HistorySweeper"]

BATCH = 1000


class _Sweeper(Service):
    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        return self.settings.sweep_interval

    def run_once(self) -> int:
        """Delete what is older than its queue keeps it, in batches; gives how many chains."""
        listed = list(self.settings.queues)
        swept = sum(self._queue(name, self.settings.queues[name], []) for name in listed)
        return swept + self._queue(None, self.settings.queue_defaults, listed)

    def _queue(self, name: str | None, queue: QueueSettings, others: list[str]) -> int:
        swept, batch = 0, BATCH
        while batch == BATCH:
            batch = self._batch(name, queue, others)
            swept += batch
        return swept

    @abstractmethod
    def _batch(self, name: str | None, queue: QueueSettings, others: list[str]) -> int: ...


class DeadLetterSweeper(_Sweeper):
    """Deletes dead letters older than their queue's `dlq_retention_days`."""

    name = "dead-letter-sweeper"

    def _batch(self, name: str | None, queue: QueueSettings, others: list[str]) -> int:
        days = queue.dlq_retention_days
        return dead_letters.sweep_dead_letters(self.plugin.db, name, days, others, BATCH)


class HistorySweeper(_Sweeper):
    """Deletes chains that ended outside the dead-letter queue before `history_retention_days`."""

    name = "history-sweeper"

    def _batch(self, name: str | None, queue: QueueSettings, others: list[str]) -> int:
        days = queue.history_retention_days
        return dead_letters.sweep_history(self.plugin.db, name, days, others, BATCH)
