"""The payload of a job that outside workers claim: any JSON value, kept as the message of a task with one argument."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import PayloadNotSerializable, PayloadTooLarge
from celery_jobs.ids import new_id

if TYPE_CHECKING:
    from celery_jobs.store.rows import Message

__all__ = ["payload_message", "read_payload"]


def payload_message(queue: str, payload: Any, limit: int) -> Message:
    """The message that keeps a payload; raises PayloadNotSerializable, and PayloadTooLarge above `limit` bytes."""
    from celery_jobs.store.rows import Message

    try:
        data = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadNotSerializable("json", error) from error
    if len(data) > limit:
        raise PayloadTooLarge(len(data), limit)
    return Message(
        id=new_id(),
        body=b"[[" + data + b"], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers="{}",
        properties="{}",
        exchange="",
        routing_key=queue,
    )


def read_payload(body: bytes) -> Any:
    """The payload in a message's body; not by kombu, which takes some objects for values of Python."""
    return json.loads(bytes(body))[0][0]
