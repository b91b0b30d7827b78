"""One client of Redis for a channel: kombu makes a new one for each message that it sends, fetches or acknowledges.

A client is a table of 170 callbacks around a pool of connections, and takes as long as sending a message with it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NotHeld", "holding", "keep_client"]

Push = tuple[Any, ...]
"""What a message comes to in the end: the list of Redis that it is put into, and itself."""


class NotHeld(Exception):
    """A message that is more than one push."""


def keep_client(channel: Any) -> None:
    """Have a channel of kombu's transport for Redis make its client once for each pool that it has; others stay."""
    make = getattr(channel, "Client", None)
    if make is not None and not isinstance(make, _Kept) and hasattr(channel, "_pool"):
        channel.Client = _Kept(channel, make)


@contextmanager
def holding(channel: Any) -> Iterator[tuple[Any, list[Push]]]:
    """Have a channel that keeps its client push nothing; gives the client, and what it is to push afterwards.

    Raises NotHeld for a channel without, and inside for anything that is not a push.
    """
    kept = getattr(channel, "Client", None)
    if not isinstance(kept, _Kept) or kept.client is None:
        raise NotHeld
    client, held = kept.client, _Holding(kept.client.connection_pool)
    kept.client = held
    try:
        yield client, held.pushes
    finally:
        kept.client = client


class _Holding:
    """Stands in for a client, and notes what is pushed."""

    def __init__(self, connection_pool: Any) -> None:
        self.connection_pool = connection_pool
        self.pushes: list[Push] = []

    def lpush(self, *push: Any) -> None:
        """Note it."""
        self.pushes.append(push)

    def __getattr__(self, name: str) -> Any:
        raise NotHeld


class _Kept:
    """Stands in for the class of a channel's clients."""

    def __init__(self, channel: Any, make: Callable[..., Any]) -> None:
        self._channel = channel
        self._make = make
        self.client: Any = None

    def __call__(self, connection_pool: Any, **options: Any) -> Any:
        """Give the client of a pool; those that wait for messages have a pool of their own, and are kept by kombu."""
        if connection_pool is not self._channel._pool:
            return self._make(connection_pool=connection_pool, **options)
        if self.client is None or self.client.connection_pool is not connection_pool:
            self.client = self._make(connection_pool=connection_pool, **options)
        return self.client
