"""taskiq on Valkey: the stream broker, which its docs recommend where nothing may be lost; two worker processes."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskiq_redis import RedisStreamBroker

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["broker", "prepare", "producer"]

broker = RedisStreamBroker(url=os.environ["BENCHMARK_BROKER_URL"])


@broker.task
async def noop() -> None:
    tally.count()


@broker.task
async def timed(sent: float) -> None:
    tally.note(sent)


def prepare() -> None:
    """Nothing to be made before."""


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """`kiq`."""
    await broker.startup()
    yield Producer(noop.kiq, None, timed.kiq)
    await broker.shutdown()
