"""Small Celery apps with the plugin, and a worker in a thread of the test for what needs no processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.app.task import Task
from celery.contrib.testing.worker import start_worker

import celery_jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["be_quiet", "end", "make_app", "shared_worker", "working"]


_made: list[Celery] = []
"""Kept: Celery leaves what an app has open to whoever collects it, and a socket that is collected warns."""


def make_app(broker_url: str, database_url: str, install: bool = True, **conf: Any) -> Celery:
    """An app on a broker that is also its result backend, retrying after 0.1 and 0.2 s."""
    app = Celery("shop", broker=broker_url, backend=broker_url, set_as_current=False)
    _made.append(app)
    app.conf.update(
        jobs_database_url=database_url,
        jobs_queue_defaults={"retry_delays": [0.1, 0.2]},
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        jobs_database_timeout=10,  # a busy machine is slow, not away
    )
    app.conf.update(**conf)
    if install:
        celery_jobs.install(app)
    return app


def end(app: Celery) -> None:
    """Check that what a test left behind is sound, and close what its app has open."""
    assert invariants.check(plugin_of(app).db) == []
    plugin_of(app).db.dispose()
    app.close()


@contextmanager
def working(app: Celery, **options: Any) -> Iterator[Any]:
    """A worker with the solo pool in a thread: no time limits, no children, quick to start."""
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20, **options) as worker:
        yield worker


@contextmanager
def shared_worker(app: Celery) -> Iterator[None]:
    """The same for many tests, one at a time in a process: two would disturb each other. Closes the app at the end."""

    @app.task(name="last", base=Task, shared=False)
    def last() -> None:
        be_quiet(app)

    with working(app):
        yield
        last.delay().get(timeout=30, interval=0.05)
    be_quiet(app)
    plugin_of(app).unchecked_db.dispose()
    app.close()


def be_quiet(app: Celery) -> None:
    """Let no result of this thread that is collected later connect anew, to say that it listens no more."""
    if app.conf.result_backend.startswith("redis"):
        app.backend.result_consumer.stop()
        app.backend.result_consumer._pubsub = None
