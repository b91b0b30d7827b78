"""The redispatcher sends again what was sent and got lost, and ends what has expired (semantics.md section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.queue_depth import queue_depth
from celery_jobs.sending import sender_of
from celery_jobs.services.base import Service
from celery_jobs.store import sends, signs, workers
from celery_jobs.telling import expire, tell_untold

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["Redispatcher"]

BATCH = 1000


class Redispatcher(Service):
    """Sends again only as far as the broker holds fewer messages than rows wait: never doubles a backlog."""

    name = "redispatcher"

    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        return self.settings.redispatch_interval

    @property
    def _sign(self) -> ColumnElement[bool]:
        return signs.to_repair(self.settings.redispatch_after)

    def run_once(self) -> int:
        """Repair lost messages; gives how many jobs were sent again, expired or told."""
        expired = sum(expire(self.plugin, job_id) for job_id in sends.expired(self.plugin.db, BATCH))
        told = tell_untold(self.plugin, BATCH)
        served = workers.live_queues(self.plugin.db)
        overdue = sends.overdue_queues(self.plugin.db, self.settings.redispatch_after)
        return expired + told + sum(self._redispatch(queue) for queue in overdue if queue in served)

    def _redispatch(self, queue: str) -> int:
        depth = queue_depth(self.plugin, queue)
        if depth is None:
            return 0
        missing = sends.waiting_sent(self.plugin.db, queue, depth + BATCH) - depth
        if missing <= 0:
            return 0
        after, most = self.settings.redispatch_after, self.settings.max_sends
        jobs = sends.take_overdue(self.plugin.db, queue, after, most, missing)
        for job in jobs:
            emit(Kind.SENT_AGAIN, job, job_id=job.job_id)
        return sender_of(self.plugin).send(jobs)
