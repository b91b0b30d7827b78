"""The bootstep that makes a Celery worker one of ours: a row with a heartbeat, the service queue, clean release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.concurrency.thread import TaskPool as ThreadPool

from celery_jobs import settings
from celery_jobs.events import Kind, emit
from celery_jobs.plugin import plugin_of
from celery_jobs.worker.announcer import Announcer
from celery_jobs.worker.heart import Heart
from celery_jobs.worker.messenger import Messenger
from celery_jobs.worker.own_requests import mix_requests
from celery_jobs.worker.stand_in import StandIn
from celery_jobs.worker.terminator import Terminator

if TYPE_CHECKING:
    from celery.worker import WorkController

__all__ = ["JobsStep"]

OWN_THREADS = settings.CALLBACKS_AT_ONCE + 5
"""Those that send callbacks, the messenger, the announcer, the heart, the stand-in, and the worker itself.

The terminator is none of a worker of threads, which cannot kill.
"""


class JobsStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts after the pool has forked, ends after the pool has stopped."""

    requires = ("celery.worker.components:Pool",)
    label = "Jobs"

    def __init__(self, worker: WorkController, **options: Any) -> None:
        self.plugin = plugin_of(worker.app)
        # Each worker serves beat's ticks, whatever its -Q says.
        worker.app.amqp.queues.select_add(self.plugin.settings.service_queue)
        mix_requests(worker.app)
        if self.plugin.settings.alert_urls:
            self.plugin.announcer = Announcer(self.plugin)
        super().__init__(worker, **options)

    def start(self, worker: WorkController) -> None:
        """Register the worker and begin to beat; raises SchemaOutdated before anything is consumed."""
        if isinstance(worker.pool, ThreadPool):
            self.plugin.unchecked_db.make_room(worker.concurrency + OWN_THREADS)
        queues = list(worker.app.amqp.queues.consume_from)
        self.stand_in = StandIn(self.plugin)
        self.messenger = self.plugin.messenger = Messenger(self.plugin)
        self.heart = self.plugin.heart = Heart(self.plugin, worker, queues, self.messenger, self.stand_in)
        self.heart.start()
        emit(Kind.WORKER_STARTED, database=self.plugin.where)
        self.stand_in.start()
        self.messenger.start()
        self.terminator = Terminator(self.plugin, worker)
        self.terminator.start()
        if self.plugin.announcer is not None:
            self.plugin.announcer.start()
        stopped = worker.blueprint.on_stopped
        worker.blueprint.on_stopped = lambda: self._end(stopped)

    def stop(self, worker: WorkController) -> None:
        """Stop nothing yet: the pool still finishes what it runs."""

    terminate = stop

    def _end(self, stopped: Any) -> None:
        """After the pool has stopped, give back what it abandoned."""
        if stopped is not None:
            stopped()
        self.terminator.stop()
        self.stand_in.stop()
        self.messenger.stop()
        if self.plugin.announcer is not None:
            self.plugin.announcer.stop()
        self.heart.stop()
