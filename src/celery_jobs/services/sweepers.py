"""The sweepers delete what is old: dead letters and history, each by its queue's retention (semantics.md section 7)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from celery_jobs.services.base import Service
from celery_jobs.store import dead_letters

if TYPE_CHECKING:
    from celery_jobs.settings import QueueSettings
    from celery_jobs.store.dead_letters import Reached, Swept

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
        batch = self._batch(name, queue, others, None)
        swept = batch.chains
        while batch.reached is not None:
            batch = self._batch(name, queue, others, batch.reached)
            swept += batch.chains
        return swept

    @abstractmethod
    def _batch(self, name: str | None, queue: QueueSettings, others: list[str], after: Reached | None) -> Swept: ...


class DeadLetterSweeper(_Sweeper):
    """Deletes dead letters older than their queue's `dlq_retention_days`."""

    name = "dead-letter-sweeper"

    def _batch(self, name: str | None, queue: QueueSettings, others: list[str], after: Reached | None) -> Swept:
        days = queue.dlq_retention_days
        return dead_letters.sweep_dead_letters(self.plugin.db, name, days, others, BATCH, after)


class HistorySweeper(_Sweeper):
    """Deletes chains that ended outside the dead-letter queue before `history_retention_days`."""

    name = "history-sweeper"

    def _batch(self, name: str | None, queue: QueueSettings, others: list[str], after: Reached | None) -> Swept:
        days = queue.history_retention_days
        return dead_letters.sweep_history(self.plugin.db, name, days, others, BATCH, after)
