"""Bare Celery: its own task class, acknowledging late, no result backend."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["app", "make_app", "prepare", "producer"]


def make_app(**conf: Any) -> Celery:
    """An app with the two tasks that all Celery's contenders have, on the broker of the environment."""
    app = Celery("benchmark", broker=os.environ["BENCHMARK_BROKER_URL"], set_as_current=False)
    app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, **conf)
    return app


def add_tasks(app: Celery) -> None:
    """The no-op, and the one that notes how long it waited."""
    app.task(name="noop")(_noop)
    app.task(name="timed")(tally.note)


def _noop() -> None:
    tally.count()


def prepare() -> None:
    """Nothing to be made before."""


def produce(app: Celery) -> Producer:
    """What enqueues with an app."""
    return Producer(app.tasks["noop"].delay, None, app.tasks["timed"].delay)


@contextmanager
def producer() -> Iterator[Producer]:
    """`.delay()`; Celery has no way to enqueue many."""
    yield produce(app)


app = make_app()
add_tasks(app)
