"""Messages of a batch differ in little: kombu makes the first, the others are copies with what differs filled in.

kombu takes several times as long to make a message as Redis to take it. Where anything of kombu's is not as it was,
which may have a say in each message, kombu makes each.
"""

from __future__ import annotations

import os
import uuid
from base64 import b64encode
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import kombu
from kombu import messaging
from kombu.exceptions import BatchPublishError
from kombu.transport.virtual import base

from celery_jobs.envelope import headers_text
from celery_jobs.unchanged import is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from celery_jobs.store.rows import Outgoing

__all__ = ["NoCopies", "copies_of", "push"]

MOST_AT_ONCE = 262_144
"""Bytes that one command brings to Redis, or one message where that is longer."""

Made = tuple[bytes, dict[str, Any]]
"""What `Producer.publish` takes of a job: body and options."""


class NoCopies(Exception):
    """These messages are kombu's to make."""


def copies_of(
    producer: kombu.Producer, jobs: Sequence[Outgoing], make: Callable[[Outgoing], Made]
) -> dict[str, list[bytes]]:
    """What kombu would push for each job, by the list that takes it, in order; `make` gives what it is to publish.

    Raises NoCopies where kombu has to do it itself.
    """
    if not _is_plain(producer):
        raise NoCopies
    stencils: dict[Any, Stencil] = {}
    copies: dict[str, list[bytes]] = {}
    for job, tag in zip(jobs, _tags(len(jobs)), strict=True):
        like = _like(job)
        stencil = stencils.get(like) or stencils.setdefault(like, Stencil(producer, *make(job)))
        copies.setdefault(stencil.key, []).append(stencil.fill(job, tag))
    return copies


def push(producer: kombu.Producer, copies: dict[str, list[bytes]]) -> None:
    """Push copies in one go, as kombu's batch does; raises BatchPublishError, its cause what Redis has said."""
    with producer.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipeline:
        for key, messages in copies.items():
            for some in _parts(messages):
                pipeline.lpush(key, *some)
        try:
            pipeline.execute()
        except Exception as error:
            raise BatchPublishError("Redis publish batch failed; delivery is uncertain") from error


def _parts(messages: list[bytes]) -> Iterable[list[bytes]]:
    part, size = list[bytes](), 0
    for message in messages:
        if part and size + len(message) > MOST_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message)
    yield part


def _like(job: Outgoing) -> Any:
    """What messages have in common that differ in body, headers and correlation id alone."""
    message = job.message
    begin = f'{{"correlation_id": {encode_basestring_ascii(job.task_id)}'
    properties = message.properties.removeprefix(begin)
    # A time to live differs with each, as do the headers of what is compressed.
    if properties is message.properties or '"expiration"' in properties or message.compression:
        raise NoCopies
    way = (message.exchange, message.routing_key, job.queue)
    return properties, message.content_type, message.content_encoding, message.delivery_mode, way


class Stencil:
    """A message as kombu makes it, with gaps."""

    def __init__(self, producer: kombu.Producer, body: bytes, options: dict[str, Any]) -> None:
        marks = [uuid.uuid4().hex for _ in range(3)]
        marked = {**options, "headers": {"mark": marks[1]}, "correlation_id": marks[2]}
        made = _Made(producer, marks[0].encode(), marked)
        given = b64encode(marks[0].encode()).decode(), f'{{"mark": "{marks[1]}"}}', f'"{marks[2]}"', f'"{made.tag}"'
        self.key, self._parts = made.key, list[str]()
        rest = made.text
        for gap in given:
            before, found, rest = rest.partition(gap)
            if not found or gap in rest:
                raise NoCopies
            self._parts.append(before)
        self._parts.append(rest)

    def fill(self, job: Outgoing, tag: str) -> bytes:
        """The message of a job, under a delivery tag of its own."""
        before, after_body, after_headers, after_id, end = self._parts
        body, task_id = b64encode(job.message.body).decode(), encode_basestring_ascii(job.task_id)
        return f'{before}{body}{after_body}{headers_text(job)}{after_headers}{task_id}{after_id}"{tag}"{end}'.encode()


class _Made:
    """Stands in for a batch of kombu's, which takes what a channel would push to Redis."""

    def __init__(self, producer: kombu.Producer, body: bytes, options: dict[str, Any]) -> None:
        self.commands: list[tuple[str, tuple[Any, ...]]] = []
        here = producer._batch_local
        if getattr(here, "current", None) is not None:
            raise NoCopies
        here.current = self
        try:
            producer.publish(body, **options)
        finally:
            del here.current
        if [name for name, _ in self.commands] != ["lpush"]:
            raise NoCopies
        self.key, self.text = self.commands[0][1]

    def publish(self, channel: Any, message: dict[str, Any], **options: Any) -> Any:
        """Take a prepared message."""
        made = channel.basic_publish(message, _publish_batch=self, **options)
        self.tag = message["properties"]["delivery_tag"]
        return made

    def add(self, name: str, *arguments: Any) -> None:
        """Take a command."""
        self.commands.append((name, arguments))


def _tags(count: int) -> Iterable[str]:
    """So many UUIDs of version 4, as kombu's delivery tags are: of one draw, which takes as long as one of them."""
    drawn = os.urandom(16 * count).hex()
    for start in range(0, len(drawn), 32):
        digits = drawn[start : start + 32]
        yield f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


_METHODS = {
    "producer": ("publish", "_publish", "_prepare", "_delivery_details"),
    "channel": (
        *("basic_publish", "prepare_message", "encode_body", "create_publish_batch"),
        *("_inplace_augment_message", "_next_delivery_tag", "_put", "_get_message_priority", "_q_for_pri", "priority"),
    ),
}


def _is_plain(producer: kombu.Producer) -> bool:
    """Whether kombu's own code alone makes a message, for its own transport of one Redis."""
    if producer.connection.transport.driver_type != "redis":
        return False
    from kombu.transport import redis

    channel = producer.channel
    return (
        type(producer) is messaging.Producer
        and type(channel) is redis.Channel
        and producer.compression is None
        and all(is_own(getattr(producer, name), messaging) for name in _METHODS["producer"])
        and all(is_own(getattr(channel, name), base, redis) for name in _METHODS["channel"])
        and all(is_own(method, redis) for method in (redis.PublishBatch.publish, redis.PublishBatch.flush))
    )
