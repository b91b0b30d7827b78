"""A worker of many threads: each can use the database at once."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

from celery.contrib.testing.worker import start_worker

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database

THREADS = 50


def test_fifty_threads_use_the_database_at_once(app: Celery, db: Database) -> None:
    """On SQLite, where one writes at a time, they only end at once."""
    together = threading.Barrier(THREADS)
    database = plugin_of(app).db

    @app.task(name="meets", shared=False, retry_delays=[])
    def meets() -> int:
        with nullcontext() if database.is_sqlite else database.engine.connect():
            return together.wait(60)

    with start_worker(app, pool="threads", concurrency=THREADS, perform_ping_check=False, shutdown_timeout=60):
        ids = [meets.delay().id for _ in range(THREADS)]
        runs = [Jobs(app).wait(id, 90) for id in ids]
    assert [run.error_message for run in runs] == [None] * THREADS
    assert sorted(run.result for run in runs) == list(range(THREADS))
