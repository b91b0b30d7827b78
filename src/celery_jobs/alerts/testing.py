"""A test of the destinations: that letters arrive is known before the first job dies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.alerts.channels import Channels
from celery_jobs.alerts.letter import Letter, name_of
from celery_jobs.errors import InvalidSettings

if TYPE_CHECKING:
    from celery_jobs.alerts.channels import Delivery
    from celery_jobs.plugin import Plugin

__all__ = ["send_test"]


def send_test(plugin: Plugin, queue: str | None) -> list[Delivery]:
    """Send a test to the destinations of a queue; None: of queues that have none of their own."""
    destinations = plugin.settings.alert_urls
    if not destinations.of(queue):
        of = f"the queue {queue!r}" if queue is not None else "queues without a list of their own"
        raise InvalidSettings([f"jobs_alert_urls: there is no destination for {of}"])
    return Channels(destinations).send(queue, _letter(plugin, queue))


def _letter(plugin: Plugin, queue: str | None) -> Letter:
    of = "any queue that has no list of its own" if queue is None else f"the queue {queue}"
    enabled = plugin.settings.queue_defaults if queue is None else plugin.settings.queue(queue)
    off = "" if enabled.alerts_enabled else " Its alerts are off: set alerts_enabled."
    words = f"Nothing has died. When a job of {of} does, you are told here.{off}"
    return Letter("Test: the alerts of celery-jobs arrive here", f"{words}\nApp: {name_of(plugin.app)}")
