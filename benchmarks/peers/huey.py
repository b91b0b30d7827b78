"""huey on Valkey: a consumer with two worker processes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from huey import RedisHuey

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["huey", "prepare", "producer"]

huey = RedisHuey("benchmark", url=os.environ["BENCHMARK_BROKER_URL"])


@huey.task()
def noop() -> None:
    tally.count()


@huey.task()
def timed(sent: float) -> None:
    tally.note(sent)


def prepare() -> None:
    """Nothing to be made before."""


@contextmanager
def producer() -> Iterator[Producer]:
    """A call of the task."""
    yield Producer(noop, None, timed)
