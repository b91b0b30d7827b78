"""The worker's own channel keeps its client of Redis, and gathers what it tells it.

See `celery_jobs.kept_client` and `celery_jobs.worker.receipts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import bootsteps

from celery_jobs.kept_client import keep_client
from celery_jobs.worker.receipts import gather_receipts

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

__all__ = ["KeptClient"]


class KeptClient(bootsteps.StartStopStep):  # type: ignore[misc]
    """Comes after each new connection to the broker has its channel."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    label = "Kept client"

    def start(self, consumer: Consumer) -> None:
        """Keep the client of the channel that fetches and acknowledges, and have it do so once a turn."""
        keep_client(consumer.task_consumer.channel)
        gather_receipts(consumer)
