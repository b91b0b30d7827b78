"""A message that is made while its job is being stored: to hand it to Redis is all that is left for afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery_jobs.envelope import JOB_HEADER
from celery_jobs.kept_client import Push, holding

if TYPE_CHECKING:
    from typing import Self

    from kombu import Producer

    from celery_jobs.store.rows import Message, NewJob

__all__ = ["Ahead", "ahead_of", "has_moments", "sent_with"]


def ahead_of(producer: Producer, job: NewJob, message: Message, options: dict[str, Any]) -> Ahead | None:
    """The message of a new job, where it does not depend on what the database makes of its row; else None.

    `options`: those of the call, as Celery gives them to kombu's `publish`.
    """
    asked, exchange = (options.get("headers") or {}).get("eta"), options.get("exchange")
    if not job.send or asked is not None or has_moments(job) or getattr(exchange, "name", exchange):
        return None
    return Ahead(producer, message.body, sent_with(options, message, {"eta": None, JOB_HEADER: job.id}))


def has_moments(job: NewJob) -> bool:
    """Whether a job's messages say a time, which is another for each."""
    return any(moment not in (None, 0) for moment in (job.scheduled_at, job.delay, job.expires_at, job.expires_in))


def sent_with(options: dict[str, Any], message: Message, headers: dict[str, Any]) -> dict[str, Any]:
    """The options to publish a stored message with, with our headers beside those of the call."""
    plain = {name: value for name, value in options.items() if name not in ("serializer", "retry", "retry_policy")}
    plain.update(content_type=message.content_type, content_encoding=message.content_encoding)
    return {**plain, "headers": {**(options.get("headers") or {}), **headers}}


class Ahead:
    """One message. Where it cannot be made so it is not, and is published as any other.

    As a context manager it drops at the end what was not sent.
    """

    def __init__(self, producer: Producer, body: bytes, options: dict[str, Any]) -> None:
        """`options`: those of kombu's `publish`."""
        self._producer = producer
        self._body = body
        self.options = options
        self._push: Push | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    @property
    def is_made(self) -> bool:
        """Whether it has only to be sent."""
        return self._push is not None

    def make(self) -> None:
        """Make it, up to where it would be sent; asks nothing of the broker, and raises nothing."""
        self.drop()
        with suppress(Exception):  # what is wrong is said where it is published
            if _is_open(self._producer):
                with holding(self._producer.channel) as (client, pushes):
                    self._producer.publish(self._body, **self.options)
                ((key, message),) = pushes
                self._push = Push(client, key, message)

    def send(self) -> None:
        """Send it, once; raises what the client raises."""
        push, self._push = self._push, None
        assert push is not None
        push.send()

    def drop(self) -> None:
        """Send it never."""
        push, self._push = self._push, None
        if push is not None:
            push.drop()


def _is_open(producer: Producer) -> bool:
    """Whether there is a channel, which need not be made first, and what it is given goes out at once."""
    connection, batch = producer.connection, getattr(producer._batch_local, "current", None)
    return connection.connected and connection._default_channel is not None and batch is None
