"""The reaper brings back the jobs of dead workers and of leases that have run out (semantics.md section 6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake_of
from celery_jobs.sending import sender_of
from celery_jobs.services.base import Service
from celery_jobs.store import endings, signs, workers
from celery_jobs.telling import tell, tell_lost

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from celery_jobs.store.services import Turn

__all__ = ["Reaper"]

BATCH = 1000


class Reaper(Service):
    """Declares silent workers dead, and makes their jobs pending again, each a loss."""

    name = "reaper"
    _blind = False

    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        return self.settings.reap_interval

    @property
    def _sign(self) -> ColumnElement[bool]:
        return signs.lost(self.settings.worker_timeout)

    def _work(self, turn: Turn) -> int:
        self._blind = turn.since > self.settings.worker_timeout / 2
        return super()._work(turn)

    def run_once(self) -> int:
        """Bring back what is lost; gives how many jobs.

        After a time in which nobody looked, the database may have been away, and nobody could beat either: the
        living get a turn to do so before their silence counts.
        """
        silence = math.inf if self._blind else self.settings.worker_timeout
        known = workers.dead(self.plugin.db)
        dead = workers.declare_dead(self.plugin.db, silence)
        for worker in dead:
            if worker not in known:
                emit(Kind.WORKER_DEAD, worker=worker)
        return sum(self._bring_back(worker) for worker in dead) + self._end_leases()

    def _bring_back(self, worker: str) -> int:
        jobs = workers.running(self.plugin.db, worker, BATCH)
        for job_id in jobs:
            lost = endings.lose(self.plugin.db, job_id, self.settings.max_losses, worker=worker)
            self._settle(job_id, lost, worker)
        if len(jobs) < BATCH:
            workers.bury(self.plugin.db, worker, self.settings.worker_timeout)
        return len(jobs)

    def _end_leases(self) -> int:
        leases = workers.leases_run_out(self.plugin.db, BATCH)
        for job_id, token in leases:
            lost = endings.lose(self.plugin.db, job_id, self.settings.max_losses, lease_token=token)
            self._settle(job_id, lost)
        return len(leases)

    def _settle(self, job_id: str, outcome: endings.Ended | bool, worker: str | None = None) -> None:
        if isinstance(outcome, endings.Ended):
            tell(self.plugin, outcome.original_id)
        elif outcome:
            emit(Kind.LOST, job_id=job_id)
            tell_lost(self.plugin, job_id, worker)
            sender_of(self.plugin).send_now([job_id])
            wake_of(self.plugin, [job_id])
