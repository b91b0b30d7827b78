"""Flower's `/metrics` with the figures of the jobs behind its own. Flower asks nobody who they are here, nor do we."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakKeyDictionary

from flower.views.monitor import Metrics as FlowersMetrics
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from celery_jobs.web.figures import Figures

__all__ = ["Metrics"]

PATIENCE = 3.0
"""Seconds that a scrape waits for the database."""

_figures: WeakKeyDictionary[Any, Figures] = WeakKeyDictionary()
_silent: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Of which Flowers it is said in the log that their database is away."""


class Metrics(FlowersMetrics):
    """What Prometheus scrapes."""

    async def get(self) -> None:
        """Flower's own figures, then ours; where the database is away, ours are that it is."""
        is_up = await self._refreshed()
        await super().get()
        registry = CollectorRegistry()
        Gauge("celery_jobs_up", "1: the jobs database has answered.", registry=registry).set(is_up)
        self.write(generate_latest(registry))
        if is_up:
            self.write(generate_latest(self._own.registry))

    @property
    def _own(self) -> Figures:
        return _figures[self.application]

    async def _refreshed(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.run_in_executor(self.application.executor, self._refresh), PATIENCE)
        except Exception as error:  # whatever it is, Flower's own figures are not to be missed for it
            if not _silent.get(self.application):
                logging.getLogger("celery_jobs").warning("no figures of the jobs: %s", error or "it takes too long")
            _silent[self.application] = True
            return False
        _silent[self.application] = False
        return True

    def _refresh(self) -> None:
        figures = _figures.get(self.application)
        if figures is None:
            figures = _figures.setdefault(self.application, Figures(self.application.capp))
        with figures.lock:
            figures.refresh()
