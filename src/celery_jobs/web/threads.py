"""The threads in which pages and API ask the database: Flower's own are few, and its pages need them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MOST_STREAMS", "STREAMS", "run"]

MOST, MOST_STREAMS = 16, 32
"""Requests at work at once, and streams of events, each of which has a thread."""

REQUESTS = ThreadPoolExecutor(MOST, "celery-jobs-web")
STREAMS = ThreadPoolExecutor(MOST_STREAMS, "celery-jobs-stream")


async def run(function: Callable[..., Any], *args: Any, pool: ThreadPoolExecutor = REQUESTS) -> Any:
    """What a function gives, or raises, that is run in a thread."""
    return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args))
