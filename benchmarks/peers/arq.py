"""arq on Valkey: two worker processes, ten jobs at once in each (its default)."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from arq import create_pool
from arq.connections import RedisSettings

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["WorkerSettings", "prepare", "producer"]


async def noop(context: dict[Any, Any]) -> None:
    tally.count()


async def timed(context: dict[Any, Any], sent: float) -> None:
    tally.note(sent)


class WorkerSettings:
    """What `arq` reads."""

    functions = [noop, timed]
    redis_settings = RedisSettings.from_dsn(os.environ["BENCHMARK_BROKER_URL"])


def prepare() -> None:
    """Nothing to be made before."""


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """`enqueue_job`."""
    pool = await create_pool(WorkerSettings.redis_settings)
    yield Producer(lambda: pool.enqueue_job("noop"), None, lambda sent: pool.enqueue_job("timed", sent))
    await pool.aclose()
