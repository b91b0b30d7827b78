"""One client of Redis for a channel: kombu makes a new one for each message that it sends, fetches or acknowledges.

A client is a table of 170 callbacks around a pool of connections, and takes as long as sending a message with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["keep_client"]


def keep_client(channel: Any) -> None:
    """Have a channel of kombu's transport for Redis make its client once for each pool that it has; others stay."""
    make = getattr(channel, "Client", None)
    if make is not None and not isinstance(make, _Kept) and hasattr(channel, "_pool"):
        channel.Client = _Kept(channel, make)


class _Kept:
    """Stands in for the class of a channel's clients."""

    def __init__(self, channel: Any, make: Callable[..., Any]) -> None:
        self._channel = channel
        self._make = make
        self._client: Any = None

    def __call__(self, connection_pool: Any, **options: Any) -> Any:
        """Give the client of a pool; those that wait for messages have a pool of their own, and are kept by kombu."""
        if connection_pool is not self._channel._pool:
            return self._make(connection_pool=connection_pool, **options)
        if self._client is None or self._client.connection_pool is not connection_pool:
            self._client = self._make(connection_pool=connection_pool, **options)
        return self._client
