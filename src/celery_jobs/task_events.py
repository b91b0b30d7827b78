"""Celery's task events for what happens outside a worker's run, so that Flower shows jobs as they are.

A worker tells of what it runs, a caller of what it sends. Of a job that SQL held, lost, cancelled or ended they know
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.events import EventDispatcher

from celery_jobs.envelope import decode_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery import Celery
    from kombu import Producer

    from celery_jobs.store.rows import Outgoing

__all__ = ["publish_event", "publish_sent"]


def publish_sent(app: Celery, producer: Producer, jobs: Iterable[Outgoing]) -> None:
    """Say that stored jobs are on their way, or wait, as Celery does of what it has just published."""
    dispatcher = _dispatcher(app, None)
    for job in jobs:
        _publish(dispatcher, producer, "task-sent", _sent(job))


def publish_event(app: Celery, producer: Producer, hostname: str, kind: str, fields: dict[str, Any]) -> None:
    """Say something in a worker's name. Whoever listens takes every name for a worker's: it has to be one."""
    _publish(_dispatcher(app, hostname), producer, kind, fields)


def _dispatcher(app: Celery, hostname: str | None) -> Any:
    # One that buffers would swallow a broker's errors, and keep the event for ever.
    return app.events.Dispatcher(enabled=False, buffer_while_offline=False, hostname=hostname)


def _publish(dispatcher: Any, producer: Producer, kind: str, fields: dict[str, Any]) -> None:
    if producer.connection.transport.driver_type not in EventDispatcher.DISABLED_TRANSPORTS:
        dispatcher.publish(kind, fields, producer, retry=False)


def _sent(job: Outgoing) -> dict[str, Any]:
    headers = decode_headers(job.message)
    eta = job.due_at
    return {
        "uuid": job.task_id,
        "name": job.task,
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "args": headers.get("argsrepr", ""),
        "kwargs": headers.get("kwargsrepr", ""),
        "retries": job.retries,
        "eta": None if eta is None else eta.isoformat(),
        "expires": None if job.expires_at is None else job.expires_at.isoformat(),
        "queue": job.queue,
        "exchange": job.message.exchange,
        "routing_key": job.message.routing_key,
    }
