"""A worker's heartbeat: a thread of its own, so that neither a busy pool nor the event loop stops it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from celery.worker import state

from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake_of
from celery_jobs.sending import sender_of
from celery_jobs.store import workers
from celery_jobs.worker.request import JobRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.worker import WorkController

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.workers import Pulse
    from celery_jobs.worker.messenger import Messenger
    from celery_jobs.worker.stand_in import StandIn

__all__ = ["Heart"]


class Heart:
    """Keeps the worker's row alive, and does what the event loop could not while the database was away.

    Each beat brings back what the messenger and the stand-in have to know: with nothing to do they ask nothing.
    """

    def __init__(
        self, plugin: Plugin, worker: WorkController, queues: list[str], messenger: Messenger, stand_in: StandIn
    ) -> None:
        self.plugin = plugin
        self.time_limit = worker.time_limit
        self.hostname = worker.hostname
        self.messenger = messenger
        self.stand_in = stand_in
        self.queues = queues
        self.worker_id = ""
        self.clock_ahead = 0.0
        """Seconds that this machine's wall clock is ahead of the database's."""
        self._pause = 0.0
        """Seconds to the next beat."""
        self._postponed: list[Callable[[], object]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="celery-jobs-heart", daemon=True)

    def start(self) -> None:
        """Register, waiting for a database that is away, and begin to beat; raises SchemaOutdated."""
        self.plugin.await_db()
        self._register()
        self._heartbeat()
        self._pause = min(self.plugin.settings.heartbeat_interval, self.stand_in.first_look_in)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating, give back what the worker still holds, and delete its row."""
        self._stopping.set()
        self._thread.join()
        try:
            self._do_postponed()
            released = workers.forget(self.plugin.db, self.worker_id)
            sender_of(self.plugin).send_now(released)
            wake_of(self.plugin, released)
        except Exception as error:
            # The reaper gives the jobs back when it finds this worker silent.
            emit(Kind.SERVICE_FAILED, service="worker's release", error=str(error))

    def postpone(self, act: Callable[[], object]) -> None:
        """Do something with the database when it answers again."""
        self._postponed.append(act)

    def _register(self) -> None:
        self.worker_id = workers.register(self.plugin.db, self.hostname, os.getpid(), self.queues)

    def _beat(self) -> None:
        while not self._stopping.wait(self._pause):
            for act in (self._say_alive, self._do_postponed, self._end_runaways):
                try:
                    act()
                except Exception as error:
                    emit(Kind.SERVICE_FAILED, service="heartbeat", error=str(error))

    def _say_alive(self) -> None:
        pulse = self._heartbeat()
        if pulse is None:
            self._register()
            return
        interval = self.plugin.settings.heartbeat_interval
        if pulse.callback_in is not None and pulse.callback_in < interval:
            self.messenger.ring()
        self._pause = min(interval, self.stand_in.look(pulse.ages))

    def _heartbeat(self) -> Pulse | None:
        pulse = workers.heartbeat(self.plugin.db, self.worker_id, self.queues, self.stand_in.names)
        if pulse is not None:
            self.clock_ahead = pulse.clock_ahead
        return pulse

    def _end_runaways(self) -> None:
        """End what runs on past its hard limit in a pool without limits."""
        for request in tuple(state.active_requests):
            if isinstance(request, JobRequest):
                request.end_runaway(self.time_limit)

    def _do_postponed(self) -> None:
        while self._postponed:
            try:
                self._postponed[0]()
            except StoreUnavailable:
                raise
            except Exception as error:  # must not stand in the way of the others for ever
                emit(Kind.SERVICE_FAILED, service="postponed settlement", error=repr(error))
            self._postponed.pop(0)
