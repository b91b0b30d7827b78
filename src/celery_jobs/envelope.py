"""A message as Celery would send it, to and from the columns that keep it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from kombu.compression import get_encoder
from kombu.serialization import dumps, loads, prepare_accept_content
from kombu.utils import json

from celery_jobs.delayed_delivery import plain_way
from celery_jobs.errors import InvalidJob, PayloadNotSerializable, PayloadTooLarge
from celery_jobs.ids import new_id, parse_id
from celery_jobs.sealing import CONTENT_TYPE, Unsealable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kombu import Queue

    from celery_jobs.plugin import Plugin
    from celery_jobs.sealing import Sealer
    from celery_jobs.store.rows import Message, Outgoing

__all__ = [
    "EDITION_HEADER",
    "JOB_HEADER",
    "accepted",
    "capture",
    "decode_accepted",
    "decode_body",
    "decode_headers",
    "headers_for",
    "headers_text",
    "job_of",
    "moments_for",
    "opened",
    "properties_for",
    "queue_of",
    "queue_of_delivery",
    "queue_of_retry",
    "serialize",
]

JOB_HEADER = "celery_job"
"""The message header that carries the job's id: our mark."""

EDITION_HEADER = "celery_job_edition"
"""Of a job that was replaced, how often; what was replaced never has no such header."""

_NOT_PROPERTIES = frozenset(
    [
        "exchange",
        "routing_key",
        "serializer",
        "compression",
        "retry",
        "retry_policy",
        "delivery_mode",
        "declare",
        "headers",
        "timeout",
        "confirm_timeout",
        "content_type",
        "content_encoding",
        "mandatory",
        "immediate",
    ]
)


def capture(body: Any, options: dict[str, Any], limit: int, sealer: Sealer | None = None) -> Message:
    """Serialize what `Producer.publish(body, **options)` was handed; `limit` is in bytes.

    Raises PayloadNotSerializable and PayloadTooLarge, and InvalidJob for a compression that is unknown here.
    """
    from celery_jobs.store.rows import Message

    content_type, content_encoding, payload = serialize(body, options.get("serializer") or "json", limit, sealer)
    exchange = options.get("exchange") or ""
    return Message(
        id=new_id(),
        body=payload,
        content_type=content_type,
        content_encoding=content_encoding,
        compression=_known_compression(options.get("compression")),
        headers=json.dumps(options.get("headers") or {}),
        properties=json.dumps({k: v for k, v in options.items() if _is_property(k, v)}),
        exchange=exchange if isinstance(exchange, str) else exchange.name,
        routing_key=options.get("routing_key") or "",
        delivery_mode=_delivery_mode(options.get("delivery_mode")),
    )


def _is_property(name: str, value: Any) -> bool:
    """No priority at all is said by None: what says nothing of it gets kombu's 0."""
    return name not in _NOT_PROPERTIES and (value is not None or name == "priority")


def serialize(body: Any, serializer: str, limit: int, sealer: Sealer | None = None) -> tuple[str, str, bytes]:
    """Content type, encoding and bytes of a message's body; raises PayloadNotSerializable and PayloadTooLarge."""
    try:
        content_type, content_encoding, data = dumps(body, serializer=serializer)
    except Exception as error:
        raise PayloadNotSerializable(serializer, error) from error
    payload = _bytes(data, content_encoding)
    if len(payload) > limit:
        _refuse_large(body, serializer, limit)
    if sealer is not None:
        return sealer.seal_body(content_type, content_encoding, payload)
    return content_type, content_encoding, payload


def _known_compression(name: str | None) -> str | None:
    """The compression itself comes with the sending: there it is too late to find that it is unknown."""
    if name:
        try:
            get_encoder(name)
        except KeyError:
            raise InvalidJob("compression", f"{name!r} is not known here; is its package installed?") from None
    return name


def _bytes(data: str | bytes, encoding: str) -> bytes:
    return data.encode(encoding) if isinstance(data, str) else bytes(data)


def _refuse_large(body: Any, serializer: str, limit: int) -> None:
    """Arguments count, the canvas around them does not: a long chain may carry many small ones."""
    arguments = body[:2] if isinstance(body, tuple | list) else (body.get("args"), body.get("kwargs"))
    _, encoding, data = dumps(arguments, serializer=serializer)
    size = len(_bytes(data, encoding))
    if size > limit:
        raise PayloadTooLarge(size, limit)


def _delivery_mode(mode: Any) -> int | None:
    return {"transient": 1, "persistent": 2}.get(mode) if isinstance(mode, str) else mode


def queue_of(queues: Mapping[str, Queue], options: Mapping[str, Any]) -> str:
    """The Celery queue that a publish is meant for: the one that its way leads to, else the one that it declares."""
    exchange, routing_key = options.get("exchange") or "", str(options.get("routing_key") or "")
    declared = options.get("declare") or (None,)
    bound = _bound_to(queues, getattr(exchange, "name", exchange), routing_key)
    return bound or str(getattr(declared[0], "name", None) or routing_key)


def queue_of_delivery(queues: Mapping[str, Queue], delivery: Mapping[str, Any]) -> str:
    """The Celery queue that a message was delivered from, by its exchange and routing key."""
    exchange, routing_key, queue = plain_way(
        queues, delivery.get("exchange") or "", str(delivery.get("routing_key") or "")
    )
    return str(queue.name) if queue is not None else _bound_to(queues, exchange, routing_key) or routing_key


def _bound_to(queues: Mapping[str, Queue], exchange: str, routing_key: str) -> str | None:
    """The queue that is bound to a named exchange with this very key."""
    way = (exchange, routing_key)
    found = (name for name, queue in queues.items() if (queue.exchange.name, queue.routing_key) == way)
    return next(found, None) if exchange else None


def job_of(headers: Mapping[str, Any] | None) -> str | None:
    """The id of the job that a message's headers name; None without our mark, also where it is no id."""
    return parse_id((headers or {}).get(JOB_HEADER, ""))


def queue_of_retry(queues: Mapping[str, Queue], options: dict[str, Any], delivery: Mapping[str, Any]) -> str | None:
    """The queue of a retry; None: the same. Through a named exchange Celery repeats the way, not the queue."""
    exchange = options.get("exchange") or ""
    *way, _ = plain_way(queues, delivery.get("exchange") or "", delivery.get("routing_key") or "")
    same = way == [getattr(exchange, "name", exchange), options.get("routing_key")]
    return None if same and way[0] else queue_of(queues, options)


def decode_headers(message: Message) -> dict[str, Any]:
    """The stored headers."""
    headers: dict[str, Any] = json.loads(message.headers)
    return headers


def decode_body(plugin: Plugin, message: Message) -> tuple[Sequence[Any], dict[str, Any], dict[str, Any]]:
    """Arguments, keyword arguments and embedded canvas of a stored message; raises what the serializer raises."""
    return decode_accepted(opened(plugin, message), accepted(plugin))


def opened(plugin: Plugin, message: Message) -> Message:
    """A message as it was before it was sealed, with the app's own keys; raises Unsealable."""
    if message.content_type != CONTENT_TYPE:
        return message
    if plugin.sealer is None:
        raise Unsealable("it is sealed, and jobs_encryption_keys has no keys")
    content_type, content_encoding, body = plugin.sealer.open_body(CONTENT_TYPE, "binary", message.body)
    return replace(message, content_type=content_type, content_encoding=content_encoding, body=body)


def accepted(plugin: Plugin) -> Any:
    """The content types that an app takes, as kombu asks for them."""
    return prepare_accept_content(plugin.app.conf.accept_content)


def decode_accepted(message: Message, accept: Any) -> tuple[Sequence[Any], dict[str, Any], dict[str, Any]]:
    """The same of a message of one of these content types."""
    body = loads(message.body, message.content_type, message.content_encoding, accept=accept)
    if isinstance(body, dict):  # task protocol 1
        return body.get("args") or (), body.get("kwargs") or {}, {"errbacks": body.get("errbacks")}
    args, kwargs, embed = body
    return args, kwargs, embed or {}


def headers_for(job: Outgoing) -> dict[str, Any]:
    """The headers to send a stored job with: as the caller's, its id, its retries and when it is due set now."""
    headers = decode_headers(job.message)
    headers[JOB_HEADER] = job.job_id
    headers["retries"] = job.retries
    if job.edition:
        headers[EDITION_HEADER] = job.edition
    headers.update(moments_for(job.sent_at, job.due_at, job.expires_at, headers.get("eta")))
    return headers


def headers_text(job: Outgoing) -> str:
    """The same headers as JSON; where they are as Celery makes them, what changes is filled in without reading them."""
    text = job.message.headers
    read = _HEADERS.fullmatch(text)
    if read is None or f'"{JOB_HEADER}"' in text or not text.isascii():
        return str(json.dumps(headers_for(job)))
    eta, expires = read["eta"], read["expires"]
    if eta != "null" or job.due_at is not None or job.expires_at is not None:
        moments = moments_for(job.sent_at, job.due_at, job.expires_at, None if eta == "null" else eta[1:-1])
        eta, expires = _json_of(moments["eta"]), _json_of(moments["expires"]) if "expires" in moments else expires
    edition = f', "{EDITION_HEADER}": {job.edition}' if job.edition else ""
    return (
        f'{read["first"]}"eta": {eta}, "expires": {expires}, {read["middle"]}"retries": {job.retries},'
        f' {read["last"]}, "{JOB_HEADER}": {encode_basestring_ascii(job.job_id)}{edition}}}'
    )


def _json_of(text: str | None) -> str:
    return "null" if text is None else encode_basestring_ascii(text)


_PLAIN = r'"\w+": (?:null|true|false|\d+|"[^"\\]*"), '
_HEADERS = re.compile(
    rf'(?P<first>\{{(?:{_PLAIN})*?)"eta": (?P<eta>null|"[^"\\]*"), "expires": (?P<expires>null|"[^"\\]*"), '
    rf'(?P<middle>(?:{_PLAIN})*?)"retries": \d+, (?P<last>.+)\}}'
)
"""Headers in which nothing but plain values comes before what changes, so that it is theirs, and of nothing inside."""


def moments_for(
    sent_at: datetime, due_at: datetime | None, expires_at: datetime | None, asked: str | None
) -> dict[str, str | None]:
    """The headers `eta` and `expires` by the database's clock; a worker translates them to its own.

    `asked` is the eta that the caller asked for: where it has passed it stays, for the task to read.
    """
    passed = asked if asked is not None and _has_passed(asked, sent_at) else None
    moments = {"eta": passed if due_at is None else due_at.isoformat()}
    return moments if expires_at is None else {**moments, "expires": expires_at.isoformat()}


def _has_passed(eta: str, now: datetime) -> bool:
    moment = datetime.fromisoformat(eta)
    return moment.tzinfo is not None and moment <= now


def properties_for(job: Outgoing) -> dict[str, Any]:
    """The properties to send a stored job with; the time to live is what remains of `expires` (seconds)."""
    properties: dict[str, Any] = json.loads(job.message.properties)
    if properties.pop("expiration", None) is not None and job.expires_at is not None:
        properties["expiration"] = max(0.0, (job.expires_at - job.sent_at).total_seconds())
    return properties
