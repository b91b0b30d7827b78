"""How long a request may take: as its caller or its task says, else as its queue does (semantics.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs import settings
from celery_jobs.envelope import queue_of_delivery
from celery_jobs.plugin import plugin_of

if TYPE_CHECKING:
    from celery.worker.request import Request

__all__ = ["limits_of"]


def limits_of(request: Request) -> Any:
    """Hard and soft limit in seconds, None where there is none: the caller's, the task's, the queue's `timeout`."""
    task, given = request.task, request.time_limits
    if any(given) or task.time_limit or task.soft_time_limit:
        return given
    if task.keeps_its_time:
        return settings.HTTP_TIMEOUTS[1] + settings.TIMEOUT_GRACE, None
    plugin = plugin_of(task.app)
    if not plugin.has_timeouts:
        return given
    queue = queue_of_delivery(task.app.amqp.queues, request.delivery_info)
    timeout = plugin.settings.queue(queue).timeout
    return given if timeout is None else (timeout + settings.TIMEOUT_GRACE, timeout)
