"""The payload of a job that outside workers claim: any JSON value, kept as the message of a task with one argument."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import PayloadNotSerializable, PayloadTooLarge
from celery_jobs.ids import new_id
from celery_jobs.sealing import CONTENT_TYPE, Unsealable

if TYPE_CHECKING:
    from celery_jobs.sealing import Sealer
    from celery_jobs.store.rows import Message

__all__ = ["payload_message", "read_payload"]


def payload_message(queue: str, payload: Any, limit: int, sealer: Sealer | None = None) -> Message:
    """The message that keeps a payload; raises PayloadNotSerializable, and PayloadTooLarge above `limit` bytes."""
    from celery_jobs.store.rows import Message

    try:
        data = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadNotSerializable("json", error) from error
    if len(data) > limit:
        raise PayloadTooLarge(len(data), limit)
    sent = "application/json", "utf-8", b"[[" + data + b"], {}, {}]"
    content_type, content_encoding, body = sent if sealer is None else sealer.seal_body(*sent)
    return Message(
        id=new_id(),
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers="{}",
        properties="{}",
        exchange="",
        routing_key=queue,
    )


def read_payload(content_type: str, body: bytes, sealer: Sealer | None = None) -> Any:
    """The payload in a message's body; not by kombu, which takes some objects for values of Python.

    Raises Unsealable where it is sealed and cannot be opened.
    """
    if content_type == CONTENT_TYPE and sealer is None:
        raise Unsealable("it is sealed, and jobs_encryption_keys has no keys")
    if sealer is not None:
        _, _, body = sealer.open_body(content_type, "utf-8", body)
    return json.loads(bytes(body))[0][0]
