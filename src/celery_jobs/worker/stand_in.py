"""The stand-in: runs the services that beat has missed, in a thread of the worker's parent."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.services import SERVICES, make_service

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["StandIn"]

LOOKS = 4
"""Looks in the shortest interval of a service."""


class StandIn:
    """Looks now and then whether a service is overdue; the lock in SQL lets one worker run it."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._services = [make_service(plugin, name) for name in SERVICES]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-jobs-stand-in", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a turn that is under way ends first, if it ends within 5 s."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        pause = min(service.interval for service in self._services) / LOOKS
        # Drawn anew each time, so that many workers do not look at once.
        while not self._stopping.wait(pause * random.uniform(0.8, 1.2)):
            for service in self._services:
                if self._stopping.is_set():
                    return
                try:
                    service.run_if_overdue()
                except Exception as error:
                    emit(Kind.SERVICE_FAILED, service=service.name, error=repr(error))
