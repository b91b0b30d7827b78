"""celery-jobs: the same app as bare Celery's, and one line more."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import celery_jobs
from benchmarks.history import TASKS
from benchmarks.peers import bare
from benchmarks.peers.producer import Producer
from celery_jobs.store import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["app", "prepare", "producer"]


def prepare() -> None:
    """Make the tables."""
    migrations.upgrade(app.conf.jobs_database_url)


@contextmanager
def producer() -> Iterator[Producer]:
    """`.delay()`, and `enqueue_many`."""
    jobs = celery_jobs.Jobs(app)

    def send_many(count: int) -> None:
        jobs.enqueue_many([{"task": "noop"}] * count)

    single = bare.produce(app)
    yield Producer(single.send, send_many, single.send_timed)


def _of_history(order: int, customer: str = "") -> None:
    """The tasks whose jobs the generated history is of: replays are held to their signature."""


app = bare.make_app(jobs_database_url=os.environ["BENCHMARK_DATABASE_URL"])
celery_jobs.install(app)
bare.add_tasks(app)
for name in TASKS:
    app.task(name=name)(_of_history)
