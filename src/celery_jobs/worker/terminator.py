"""Kills what this worker runs and somebody wants killed. SQL says so: no broker has to carry it, or can lose it."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from celery.concurrency.base import BasePool
from celery.worker import state

from celery_jobs import settings
from celery_jobs.events import Kind, emit
from celery_jobs.store import workers
from celery_jobs.worker.request import JobRequest

if TYPE_CHECKING:
    from celery.worker import WorkController

    from celery_jobs.plugin import Plugin

__all__ = ["Terminator"]


class Terminator:
    """Looks every 2 s while a job runs here (semantics.md section 10). A pool that cannot kill needs none."""

    def __init__(self, plugin: Plugin, worker: WorkController) -> None:
        self.plugin = plugin
        self._worker = worker
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-jobs-terminator", daemon=True)

    def start(self) -> None:
        """Begin to look, where the pool can kill."""
        if getattr(self._worker.pool.terminate_job, "__func__", None) is not BasePool.terminate_job:
            self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(settings.TERMINATE_PAUSE):
            try:
                self._look()
            except Exception as error:
                emit(Kind.SERVICE_FAILED, service="terminator", error=repr(error))

    def _look(self) -> None:
        """Ask SQL only while something runs, and leave the rest to the thread that requests belong to."""
        running = {
            request.lease_token: request
            for request in tuple(state.active_requests)
            if isinstance(request, JobRequest) and request.lease_token
        }
        if running:
            for token in workers.terminating(self.plugin.db, self.plugin.heart.worker_id) & running.keys():
                self._worker.consumer.call_soon(self._terminate, running[token])

    def _terminate(self, request: JobRequest) -> None:
        """Celery's own way, which a task may heed to clean up; a process that does not end by it ends by force."""
        if request not in state.active_requests:
            return
        try:
            request.terminate(self._worker.pool)
        except Exception as error:  # the result store is away: a service tells it later
            emit(Kind.SERVICE_FAILED, service="terminator", error=repr(error))
        if not self._worker.pool.is_green:
            unheeded = (request.worker_pid, request._apply_result)
            self._worker.timer.call_after(settings.TERMINATE_GRACE, self._kill, unheeded)

    def _kill(self, pid: int, result: Any) -> None:
        """A process that has not given the result of this very request is still at it."""
        left = result and result()
        if left is not None and not left.ready():
            self._worker.pool.terminate_job(pid, signal.SIGKILL)
