"""The stand-in: runs the services that beat has missed, in a thread of the worker's parent.

The heart tells it how long ago each of them ran: it asks the database for nothing but its turn. What a turn leaves
unfinished it goes on with, in the pauses between which it stays free for the others.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.services import SERVICES, make_service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service

__all__ = ["StandIn"]

LOOKS = 4
"""Part of the shortest interval after which a worker that starts has its first look."""

JITTER = 0.2
"""Of the interval: drawn anew each time, so that many workers do not look at once."""


class StandIn:
    """Is told how long ago each service ran; the lock in SQL lets one worker run what is overdue."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._services = [make_service(plugin, name) for name in SERVICES]
        self._overdue: set[str] = set()
        self._stopping = False
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-jobs-stand-in", daemon=True)

    @property
    def names(self) -> list[str]:
        """Of the services that it looks after."""
        return [service.name for service in self._services]

    @property
    def first_look_in(self) -> float:
        """Seconds from the worker's start."""
        shortest = min(service.interval for service in self._services)
        return shortest / LOOKS * random.uniform(1 - JITTER, 1 + JITTER)

    def start(self) -> None:
        """Begin to run what is overdue."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a turn that is under way ends first, if it ends within 5 s."""
        self._stopping = True
        self._bell.set()
        self._thread.join(timeout=5)

    def look(self, ages: Mapping[str, float]) -> float:
        """Run, in its own thread, what is overdue; in how many seconds something may be that is not yet.

        `ages`: seconds since each service last ran.
        """
        self._overdue = {service.name for service in self._services if ages[service.name] >= service.overdue_after}
        if self._overdue:
            self._bell.set()
        return min(self._next_look(service, ages[service.name]) for service in self._services)

    def _next_look(self, service: Service, age: float) -> float:
        wait = service.overdue_after - (0 if service.name in self._overdue else age)
        return wait + service.interval * random.uniform(0, JITTER)

    def _run(self) -> None:
        while not self._stopping:
            has_rung = self._bell.wait(self._pause)
            self._bell.clear()
            overdue = self._overdue if has_rung else set()
            for service in self._services:
                wait = service.again_in
                if (service.name in overdue if wait is None else wait == 0) and not self._stopping:
                    self._run_one(service)

    @property
    def _pause(self) -> float | None:
        """Seconds until an unfinished service goes on; None where there is none."""
        waits = (service.again_in for service in self._services)
        return min((wait for wait in waits if wait is not None), default=None)

    def _run_one(self, service: Service) -> None:
        try:
            service.run_if_overdue()
        except Exception as error:
            emit(Kind.SERVICE_FAILED, service=service.name, error=repr(error))
