"""The promoter sends jobs that were held in SQL when they fall due (semantics.md section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake_all
from celery_jobs.sending import sender_of
from celery_jobs.services.base import Service
from celery_jobs.store import sends, signs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["Promoter"]


class Promoter(Service):
    """Sends unsent jobs: those of the next `jobs_promote_ahead` seconds with their exact remaining wait."""

    name = "promoter"

    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        return self.settings.promote_interval

    @property
    def _sign(self) -> ColumnElement[bool]:
        return signs.unsent(self.settings.promote_ahead)

    def run_once(self) -> int:
        """Send what is due, and whose turn it is by its limits; gives how many jobs went out."""
        woken = wake_all(self.plugin)
        queues = sends.unsent_queues(self.plugin.db, self.settings.promote_ahead)
        return woken + sum(self.promote(queue) for queue in queues)

    def promote(self, queue: str) -> int:
        """Send what is due of one queue; gives how many jobs went out."""
        # At most one batch ahead of its time: a million due in one minute would all wait in workers' memory.
        limit, ahead = self.settings.promote_batch, self.settings.promote_ahead
        sent, batch = 0, limit
        while batch == limit:
            due = sends.take_due(self.plugin.db, queue, ahead, limit)
            batch, ahead = len(due), 0
            went = sender_of(self.plugin).send(due, announce=True)
            for job in due:
                emit(Kind.PROMOTED, job, job_id=job.job_id)
            sent += went
            if went < batch:
                break
        return sent
