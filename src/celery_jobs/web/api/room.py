"""How much a queue may have waiting while REST makes more: nobody fills the table for those of other queues."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from celery_jobs.store import stats
from celery_jobs.web.api.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.store.db import Database
    from celery_jobs.web.api.operation import Call

__all__ = ["Room", "require_room"]

FRESH = 1.0
"""Seconds that a count is good for; what is made here is added to it."""

RETRY = 10
"""Seconds after which to ask again."""


class Room:
    """Knows how full queues are, to the second. `clock`: seconds that only go on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[float, int]] = {}

    def take(self, db: Database, queue: str, most: int) -> bool:
        """Count one job more in a queue; False where it has `most` that have not ended."""
        with self._lock:
            counted_at, number = self._counts.get(queue, (0.0, 0))
            now = self._clock()
            if queue not in self._counts or now - counted_at > FRESH:
                self._counts = {name: count for name, count in self._counts.items() if now - count[0] <= FRESH}
                counted_at, number = now, stats.unended(db, queue, most)

            has_room = number < most
            self._counts[queue] = counted_at, number + has_room
        return has_room


_rooms: WeakKeyDictionary[Database, Room] = WeakKeyDictionary()


def require_room(call: Call, queue: str | None, task: str | None = None) -> None:
    """Raise a Problem where the queue of a new job is full (`jobs_rest_max_waiting`)."""
    plugin = call.plugin
    if queue is None:
        known = plugin.task(task)
        routed = getattr(known, "queue", None) or plugin.app.amqp.router.route({}, task).get("queue")
        queue = str(getattr(routed, "name", routed))
    most = plugin.settings.rest_max_waiting
    if not _rooms.setdefault(plugin.db, Room()).take(plugin.db, queue, most):
        detail = f"{most:,} jobs of the queue {queue} have not ended yet; no more are taken (jobs_rest_max_waiting)"
        raise Problem(429, detail, "queue_full", headers={"Retry-After": str(RETRY)}, field="queue")
