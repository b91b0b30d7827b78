"""RQ on Valkey: a pool of two workers."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import Redis
from rq import Queue

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["noop", "prepare", "producer"]


def noop() -> None:
    tally.count()


def prepare() -> None:
    """Nothing to be made before."""


@contextmanager
def producer() -> Iterator[Producer]:
    """`enqueue`, and `enqueue_many`, which is one pipeline."""
    queue = Queue(connection=Redis.from_url(os.environ["BENCHMARK_BROKER_URL"]))

    def send_many(count: int) -> None:
        queue.enqueue_many([Queue.prepare_data(noop) for _ in range(count)])

    yield Producer(lambda: queue.enqueue(noop), send_many, lambda sent: queue.enqueue(tally.note, sent))
