"""A producer's connection to the broker, which may have been closed since its last use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kombu.exceptions import BatchPublishError, KombuError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Producer

__all__ = ["broker_errors", "connect", "disconnect", "on_a_live_connection"]


def broker_errors(producer: Producer) -> tuple[type[BaseException], ...]:
    """What a broker that is away, or that does not answer, raises."""
    connection = producer.connection
    return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)


def on_a_live_connection(producer: Producer, act: Callable[[], object]) -> None:
    """Act; once more on a new connection where the old one had been closed under it, not where it was slow."""
    broken = producer.connection.recoverable_connection_errors
    try:
        act()
    except (BatchPublishError, *broken) as error:
        cause = error.__cause__ if isinstance(error, BatchPublishError) else error
        if not isinstance(cause, broken) or _is_slow(cause):
            raise
        disconnect(producer)
        connect(producer)
        act()


def _is_slow(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | ConnectionRefusedError) or "imeout" in type(error).__name__


def connect(producer: Producer) -> None:
    """Connect where it is not; one try for each of the broker's addresses."""
    connection = producer.connection
    tries = max(0, len(connection.alt) - 1)
    connection.ensure_connection(max_retries=tries, interval_start=0, interval_step=0)


def disconnect(producer: Producer) -> None:
    """Drop a broken connection without talking over it; the next send makes a new one."""
    connection = producer.connection
    connection.collect(connection.connect_timeout)
    producer.revive(connection)
