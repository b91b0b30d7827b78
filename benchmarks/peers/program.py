"""A peer's part in its own environment: `python -m benchmarks.peers.program MODULE COMMAND …`; says figures as JSON.

prepare: make its tables; send N: one by one; send-many N: in batches; pace N RATE: so many a second until ended;
feed AHEAD: so that AHEAD jobs wait, until ended; wait N SECONDS: N timed tasks, so far apart.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import random
import sys
import time
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.peers.producer import Producer

WARM_UP = 20
"""Calls before the clock starts: connections are made, caches filled."""

BATCH = 1000
"""Jobs in one call of what enqueues many."""

FED, LOOK = 100, 0.01
"""Jobs that are added where fewer than asked for wait, and seconds between two looks."""


async def send(producer: Producer, count: int) -> dict[str, float]:
    """Enqueue one by one."""
    for _ in range(WARM_UP):
        await _settled(producer.send())
    started = time.perf_counter()
    for _ in range(count):
        await _settled(producer.send())
    return _rate(count, started)


async def send_many(producer: Producer, count: int) -> dict[str, float]:
    """Enqueue in batches, or one by one where there are none."""
    if producer.send_many is None:
        return await send(producer, count - WARM_UP)
    await _settled(producer.send_many(1))
    left = count - 1
    started = time.perf_counter()
    while left:
        size = min(left, BATCH)
        await _settled(producer.send_many(size))
        left -= size
    return _rate(count - 1, started)


async def pace(producer: Producer, count: int, rate: float) -> dict[str, float]:
    """Enqueue `rate` a second, as an application beside the workers does."""
    await _settled(producer.send())
    print("pacing", flush=True)
    started = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        await _settled(producer.send())
    return _rate(count, started)


async def feed(producer: Producer, ahead: int) -> dict[str, float]:
    """Enqueue as fast as is worked."""
    assert producer.send_many is not None
    sent, folder = 0, Path(os.environ[tally.FOLDER])
    print("feeding", flush=True)
    while True:
        if sent - tally.runs(folder) < ahead:
            await _settled(producer.send_many(FED))
            sent += FED
        else:
            time.sleep(LOOK)


async def wait(producer: Producer, count: int, apart: float) -> dict[str, float]:
    """Enqueue timed tasks `apart` seconds from each other, give or take half of it, so that nothing beats in step."""
    assert producer.send_timed is not None
    dice, started = random.Random(7), time.perf_counter()
    for _ in range(count):
        time.sleep(apart * dice.uniform(0.5, 1.5))
        await _settled(producer.send_timed(time.monotonic()))
    return _rate(count, started)


COMMANDS: dict[str, Callable[..., Awaitable[dict[str, float]]]] = {
    "send": send,
    "send-many": send_many,
    "pace": pace,
    "feed": feed,
    "wait": wait,
}


def main() -> None:
    """Do what the arguments ask for."""
    name, command, *numbers = sys.argv[1:]
    module = import_module(f"benchmarks.peers.{name}")
    if command == "prepare":
        module.prepare()
        said: dict[str, float] = {}
    else:
        said = _produce(module.producer(), command, [float(number) for number in numbers])
    print(json.dumps(said), flush=True)


def _produce(made: Any, command: str, numbers: list[float]) -> dict[str, float]:
    act, arguments = COMMANDS[command], [int(numbers[0]), *numbers[1:]]
    if isinstance(made, AbstractContextManager):
        with made as producer:
            return _without_loop(act(producer, *arguments))
    assert isinstance(made, AbstractAsyncContextManager)

    async def within() -> dict[str, float]:
        async with made as producer:
            return await act(producer, *arguments)

    return asyncio.run(within())


def _without_loop(work: Any) -> dict[str, float]:
    """A synchronous peer's commands never wait for an event loop: some must not find one running."""
    try:
        work.send(None)
    except StopIteration as done:
        said: dict[str, float] = done.value
        return said
    raise RuntimeError("a synchronous peer has waited for an event loop")


async def _settled(said: Any) -> None:
    if inspect.isawaitable(said):
        await said


def _rate(count: int, started: float) -> dict[str, float]:
    return {"per_second": count / (time.perf_counter() - started)}


if __name__ == "__main__":
    main()
