"""celery-jobs inside the benchmark's own process: its verbs and services on the broker and database of a run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery import Celery

import celery_jobs
from benchmarks.history import TASKS
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.entrant import Entrant
    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service

__all__ = ["COMMAND", "Own", "opened"]

COMMAND = ("python", "-m", "celery", "-A", "benchmarks.peers.ours:app")
"""Celery's command line with the app, as a process of an entrant."""


@dataclass(frozen=True, slots=True)
class Own:
    """An app with the plugin."""

    plugin: Plugin
    jobs: celery_jobs.Jobs

    def service(self, name: str) -> Service:
        """A service, to be run here."""
        return make_service(self.plugin, name)


@contextmanager
def opened(entrant: Entrant) -> Iterator[Own]:
    """Open the app of a run, its connections closed at the end."""
    app = Celery("benchmark", broker=entrant.broker, set_as_current=False)
    app.conf.update(jobs_database_url=entrant.database)
    celery_jobs.install(app)
    for name in ("noop", *TASKS):
        app.task(name=name)(_of_history)
    app.finalize()
    plugin = plugin_of(app)
    try:
        yield Own(plugin, celery_jobs.Jobs(app))
    finally:
        plugin.unchecked_db.dispose()
        app.close()


def _of_history(order: int = 0, customer: str = "") -> None:
    """The tasks whose jobs the generated history is of: replays are held to their signature."""
