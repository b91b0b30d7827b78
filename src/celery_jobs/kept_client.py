"""One client of Redis for a channel: kombu makes a new one for each message that it sends, fetches or acknowledges.

A client is a table of 170 callbacks around a pool of connections, and takes as long as sending a message with it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery_jobs.unchanged import is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NotHeld", "Push", "holding", "keep_client"]


class NotHeld(Exception):
    """A message that is more than one push."""


def keep_client(channel: Any) -> None:
    """Have a channel of kombu's transport for Redis make its client once for each pool that it has; others stay."""
    make = getattr(channel, "Client", None)
    if make is not None and not isinstance(make, _Kept) and hasattr(channel, "_pool"):
        channel.Client = _Kept(channel, make)


@contextmanager
def holding(channel: Any) -> Iterator[tuple[Any, list[tuple[Any, Any]]]]:
    """Have a channel that keeps its client push nothing; gives the client, and what it is to push into which list.

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
        self.pushes: list[tuple[Any, Any]] = []

    def lpush(self, key: Any, message: Any) -> None:
        """Note it."""
        self.pushes.append((key, message))

    def __getattr__(self, name: str) -> Any:
        raise NotHeld


class Push:
    """A message for a list of Redis, packed, with a connection that is its own until it is sent or dropped.

    What the client would do around its round trip takes as long as that; a client that does more is asked itself.
    """

    def __init__(self, client: Any, key: Any, message: Any) -> None:
        self._client = client
        self._push = (key, message)
        self._connection: Any = None
        if _is_plain(client):
            self._connection = client.connection_pool.get_connection()
            self._packed = self._connection.pack_command("LPUSH", key, message)

    def send(self) -> None:
        """Push it, once; raises what the client raises."""
        if self._connection is None:
            self._client.lpush(*self._push)
            return
        try:
            self._connection.send_packed_command(self._packed)
            self._connection.read_response()
        finally:
            self.drop()

    def drop(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.connection_pool.release(connection)


def _is_plain(client: Any) -> bool:
    """Whether a client only sends and reads: it puts nothing before its keys, and nobody traces its commands."""
    from redis import client as own

    kind = type(client)
    return client.connection is None and all(
        is_own(method, own) for method in (kind.execute_command, kind._execute_command, kind.parse_response)
    )


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
