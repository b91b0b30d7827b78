"""The page Overview: the last hour in a picture, a row a queue, services and workers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery_jobs.web.page import Page
from celery_jobs.web.threads import run

if TYPE_CHECKING:
    from celery_jobs.vitals import Timeline

__all__ = ["OverviewData", "OverviewPage"]

KEPT = 4.0
"""Seconds that the last hour is as it was read: however many look, it is read once."""

_timelines: WeakKeyDictionary[Any, tuple[float, Timeline]] = WeakKeyDictionary()
_lock = threading.Lock()


class OverviewPage(Page):
    """How things go."""

    template = "overview.html"
    tab = "overview"

    def read(self, *_: str) -> dict[str, Any]:
        """All of it."""
        queues, timeline = self.jobs.queues(), self.timeline()
        oldest = [one.oldest_waiting_at for one in queues if one.oldest_waiting_at is not None]
        return {
            "queues": queues,
            "timeline": timeline,
            "oldest": min(oldest, default=None),
            "services": self.jobs.services(),
            "workers": self.jobs.workers(),
        }

    def timeline(self) -> Timeline:
        """The last hour, read at most every four seconds."""
        with _lock:
            read_at, known = _timelines.get(self.application, (0.0, None))
            if known is None or time.monotonic() - read_at > KEPT:
                known = self.jobs.timeline()
                _timelines[self.application] = time.monotonic(), known
            return known


class OverviewData(OverviewPage):
    """The last hour for the plots, as JSON."""

    async def get(self, *_: str) -> None:
        """Write it."""
        timeline = await run(self.timeline)
        self.write(timeline.to_json())
