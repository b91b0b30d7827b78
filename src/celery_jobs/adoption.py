"""Messages that a producer without the plugin has sent: recorded on arrival (semantics.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.serialization import dumps
from kombu.utils import json

from celery_jobs.delayed_delivery import plain_way
from celery_jobs.envelope import queue_of_delivery
from celery_jobs.events import Kind, emit
from celery_jobs.ids import new_id
from celery_jobs.options import JobOptions
from celery_jobs.recording import make_job, read_wire
from celery_jobs.sealing import CONTENT_TYPE
from celery_jobs.store.enqueue import insert_job
from celery_jobs.store.reads import find_original
from celery_jobs.store.rows import Message

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["Arrival", "adopt", "adopted", "arrival_of"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as the broker delivered it. `headers`: as the worker reads them in Celery's protocol 2."""

    body: Any
    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]
    properties: dict[str, Any]
    exchange: str
    routing_key: str


_TOLD = frozenset({"id", "task", "retries", "eta", "expires", "group", "timelimit", "root_id", "parent_id"})
"""What Celery reads out of the body of a message of protocol 1, which has no headers."""

_KEPT_PROPERTIES = ("correlation_id", "reply_to", "priority", "expiration")


def arrival_of(request: Any, message: Any) -> Arrival:
    """The message of a worker's request, raw, which the process that runs it records."""
    delivery, properties = message.delivery_info or {}, message.properties or {}
    return Arrival(
        body=request._body,
        content_type=request._content_type,
        content_encoding=request._content_encoding,
        headers={k: v for k, v in request._request_dict.items() if k in (message.headers or ()) or k in _TOLD},
        properties={k: v for k in _KEPT_PROPERTIES if (v := properties.get(k)) is not None},
        exchange=delivery.get("exchange") or "",
        routing_key=delivery.get("routing_key") or "",
    )


def adopt(plugin: Plugin, arrival: Arrival) -> str:
    """Record an arrived message as attempt 1 of a new chain and give the job's id.

    A message delivered again finds the job that it made the first time.
    """
    wire = read_wire(plugin, arrival.headers, None)
    if wire is None:
        raise ValueError("the message is no task")
    content_type, content_encoding, body = _serialized(plugin, arrival)
    body = body.encode() if isinstance(body, str) else bytes(body)
    if plugin.sealer is not None and content_type != CONTENT_TYPE:
        content_type, content_encoding, body = plugin.sealer.seal_body(content_type, content_encoding, body)
    exchange, routing_key, _ = plain_way(plugin.app.amqp.queues, arrival.exchange, arrival.routing_key)
    message = Message(
        id=new_id(),
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=json.dumps({k: v for k, v in arrival.headers.items() if k != "compression"}),
        properties=json.dumps(arrival.properties),
        exchange=exchange,
        routing_key=routing_key,
    )
    delivery = {"exchange": arrival.exchange, "routing_key": arrival.routing_key}
    queue = queue_of_delivery(plugin.app.amqp.queues, delivery)
    job = make_job(plugin, wire, message, queue, JobOptions(), scheduled_at=None, adopted=True)
    enqueued = plugin.db.persist(lambda connection: insert_job(plugin.db, job, connection), point="adopt")
    emit(Kind.ADOPTED, job, job_id=enqueued.job_id)
    return enqueued.job_id


def adopted(plugin: Plugin, task_id: str) -> str:
    """The job that was made of a message without our mark; an empty text where none was."""
    return find_original(plugin.db, task_id) or ""


def _serialized(plugin: Plugin, arrival: Arrival) -> tuple[str, str, Any]:
    """Content type, encoding and body; a message of protocol 1 has been read already and is sent on as one of 2."""
    if arrival.content_type is None or arrival.content_encoding is None:
        encoded: tuple[str, str, Any] = dumps(arrival.body, serializer=plugin.app.conf.task_serializer)
        return encoded
    return arrival.content_type, arrival.content_encoding, arrival.body
