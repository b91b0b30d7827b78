"""RabbitMQ's native delayed delivery: over quorum queues Celery sends a countdown through exchanges that hold it.

The way of such a message says how long it waits, which is no longer true when a job is sent again. So the way without
a wait is what is stored, and each send goes the way of the wait that is left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kombu.transport.native_delayed_delivery import CELERY_DELAYED_DELIVERY_EXCHANGE, calculate_routing_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kombu import Queue

__all__ = ["held_way", "plain_options", "plain_way"]

PREFIX, ENTRY = "celery_delayed_", "celery_delayed_27"
"""The exchanges through which a message passes while it waits, and the first of them."""

_WAIT = re.compile(r"^(?:[01]\.){28}")
"""What stands before the key of a message that waits: its seconds, in binary digits."""


def plain_way(queues: Mapping[str, Queue], exchange: str, routing_key: str) -> tuple[str, str, Queue | None]:
    """Exchange and routing key without a wait, and the queue that a wait had hidden, where it is known here."""
    if not exchange.startswith(PREFIX):
        return exchange, routing_key, None
    key = _WAIT.sub("", routing_key)
    queue = next((queue for queue in queues.values() if queue.routing_key == key), None)
    # The last of these exchanges leads to every queue that may wait.
    return (CELERY_DELAYED_DELIVERY_EXCHANGE if queue is None else queue.exchange.name), key, queue


def plain_options(queues: Mapping[str, Queue], options: dict[str, Any]) -> dict[str, Any]:
    """The options of `Producer.publish` as they would be without a wait."""
    exchange = options.get("exchange") or ""
    given = (exchange if isinstance(exchange, str) else exchange.name, options.get("routing_key") or "")
    *way, queue = plain_way(queues, *given)
    if tuple(way) == given:
        return options
    declared = {} if queue is None else {"declare": [queue]}
    return {**options, "exchange": way[0], "routing_key": way[1], **declared}


def held_way(queues: Mapping[str, Queue], queue: str, exchange: str, routing_key: str, wait: float) -> tuple[str, str]:
    """Exchange and routing key by which RabbitMQ holds a message for the whole seconds of its wait.

    The same as given where Celery would not have it held: no queue is a quorum queue, or the exchange is a direct one.
    """
    known = queues.get(queue)
    leads_there = exchange == CELERY_DELAYED_DELIVERY_EXCHANGE or (
        known is not None and known.exchange.name == exchange and known.exchange.type != "direct"
    )
    if wait < 1 or not leads_there or not any(map(_is_quorum, queues.values())):
        return exchange, routing_key
    return ENTRY, calculate_routing_key(int(wait), routing_key)


def _is_quorum(queue: Queue) -> bool:
    return (queue.queue_arguments or {}).get("x-queue-type") == "quorum"
