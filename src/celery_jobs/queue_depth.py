"""How much a queue of the broker holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kombu.exceptions import KombuError

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["queue_depth"]


def queue_depth(plugin: Plugin, queue: str) -> int | None:
    """How many messages the broker holds in a queue; None where it cannot say."""
    with plugin.app.connection_for_write() as connection:
        try:
            channel = connection.default_channel
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
        except (*connection.connection_errors, KombuError, OSError):
            return None
