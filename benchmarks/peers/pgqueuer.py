"""pgqueuer: jobs in PostgreSQL through asyncpg, its tables durable (its default); two worker processes.

They are started by `PgQueuer.run`: the command `pgq run` of 1.6 cannot read its own option --log-level with typer 0.29.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgqueuer.models import Job

__all__ = ["make_queue", "prepare", "producer"]


async def make_queue() -> PgQueuer:
    """What the worker runs."""
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(os.environ["BENCHMARK_DSN"])))

    @queue.entrypoint("noop")
    async def noop(job: Job) -> None:
        tally.count()

    @queue.entrypoint("timed")
    async def timed(job: Job) -> None:
        tally.note(float(job.payload or 0))

    return queue


def prepare() -> None:
    """Make the tables."""

    async def install() -> None:
        connection = await asyncpg.connect(os.environ["BENCHMARK_DSN"])
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    asyncio.run(install())


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """`enqueue` of one, and of lists."""
    connection = await asyncpg.connect(os.environ["BENCHMARK_DSN"])
    queries = Queries(AsyncpgDriver(connection))
    yield Producer(
        lambda: queries.enqueue("noop", None),
        lambda count: queries.enqueue(["noop"] * count, [None] * count, [0] * count),
        lambda sent: queries.enqueue("timed", str(sent).encode()),
    )
    await connection.close()


async def work() -> None:
    """A worker, until it is ended."""
    queue = await make_queue()
    await queue.run()


if __name__ == "__main__":
    asyncio.run(work())
