"""procrastinate: jobs in PostgreSQL, kept when done (its default); two worker processes of async tasks."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import procrastinate

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["app", "prepare", "producer"]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCHMARK_DSN"]))


@app.task(name="noop")
async def noop() -> None:
    tally.count()


@app.task(name="timed")
async def timed(sent: float) -> None:
    tally.note(sent)


def prepare() -> None:
    """Make the tables."""
    with app.open():
        app.schema_manager.apply_schema()


@contextmanager
def producer() -> Iterator[Producer]:
    """`defer`, and `batch_defer`, which is its batch insert."""
    with app.open():
        yield Producer(noop.defer, lambda count: noop.batch_defer(*[{}] * count), lambda sent: timed.defer(sent=sent))
