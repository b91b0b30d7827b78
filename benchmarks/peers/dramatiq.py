"""Dramatiq on Valkey: two processes with eight threads each (its default), no results."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import tally
from benchmarks.peers.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prepare", "producer"]

dramatiq.set_broker(RedisBroker(url=os.environ["BENCHMARK_BROKER_URL"]))


@dramatiq.actor
def noop() -> None:
    tally.count()


@dramatiq.actor
def timed(sent: float) -> None:
    tally.note(sent)


def prepare() -> None:
    """Nothing to be made before."""


@contextmanager
def producer() -> Iterator[Producer]:
    """`send`; what it calls a group is a loop of it."""
    yield Producer(noop.send, None, timed.send)
