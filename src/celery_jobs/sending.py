"""Sending jobs to the broker: one sender for `.delay()`, promoter, redispatcher, retries and replays.

A send that fails is never an error of the job: its row is marked unsent, and the promoter sends it later.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from celery.result import task_join_will_block
from kombu.common import Broadcast, maybe_declare
from kombu.compression import get_encoder

from celery_jobs import failpoints
from celery_jobs.breaker import Breaker
from celery_jobs.broker_connection import broker_errors, connect, disconnect, on_a_live_connection
from celery_jobs.delayed_delivery import held_way
from celery_jobs.envelope import headers_for, properties_for
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.kept_client import keep_client
from celery_jobs.stencils import copies_of, push
from celery_jobs.task_events import publish_event, publish_sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kombu import Producer

    from celery_jobs.ahead import Ahead
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, Outgoing

__all__ = ["Sender", "sender_of"]

BATCH = 500


class Sender:
    """Sends messages through one app's broker, behind a circuit breaker."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.breaker = Breaker(plugin.settings.broker_retry_interval)

    def publish(self, producer: Producer, body: bytes, ahead: Ahead | None = None, **options: Any) -> bool:
        """Publish once, within about `jobs_broker_timeout` seconds an answer; False where the broker failed.

        `ahead`: the same message, if it is made already.
        """
        is_made = ahead is not None and ahead.is_made
        return self.guarded(producer, lambda: _publish(producer, body, options, ahead), is_connected=is_made)

    def guarded(self, producer: Producer, act: Callable[[], object], is_connected: bool = False) -> bool:
        """Do something with the broker; False, and the breaker opens, where the broker failed."""
        try:
            if not is_connected:
                self.connect(producer)
            act()
        except broker_errors(producer) as error:
            if not isinstance(error, producer.connection.channel_errors):  # which refuse this message, and no other
                self.breaker.failed()
            disconnect(producer)
            return False
        self.breaker.succeeded()
        return True

    def connect(self, producer: Producer) -> None:
        """Connect where it is not, waiting no longer than a send may; raises what `broker_errors` lists."""
        self._bound(producer)
        connect(producer)
        keep_client(producer.channel)

    def announce_result(self, task_id: str, producer: Producer | None = None) -> bool:
        """What `send_task` does before the seam: rpc:// declares its reply queue; False where the broker failed.

        Redis only subscribes early, which `.get()` does by itself; it would wait 20 s for an absent server.
        """
        backend = self.plugin.app.backend
        deferred = hasattr(backend.on_task_call, "__wrapped__")
        if not deferred or task_join_will_block() or not backend.__class__.__module__.endswith(".rpc"):
            return True
        with self.plugin.app.producer_or_acquire(producer) as given:
            return self.guarded(given, lambda: on_a_live_connection(given, lambda: _declare_replies(backend, given)))

    def send(self, jobs: Iterable[Outgoing], announce: bool = False) -> int:
        """Send stored jobs, which the store has marked as sent; gives how many went out.

        `announce`: also tell those who listen to Celery's events, who have not heard that they are.
        """
        rest, went = iter(jobs), 0
        with self.plugin.app.producer_pool.acquire(block=True) as producer:
            for batch in iter(lambda: list(islice(rest, BATCH)), []):
                if announce:  # first: said late, it would be taken for the news
                    self._announce(producer, batch)
                went += self._send(producer, batch)
        return went

    def announce(self, jobs: Iterable[Outgoing]) -> None:
        """Tell those who listen to Celery's events of stored jobs, sent or held."""
        if self.plugin.app.conf.task_send_sent_event and (heard := list(jobs)):
            with self.plugin.app.producer_pool.acquire(block=True) as producer:
                self._announce(producer, heard)

    def say(self, hostname: str, kind: str, **fields: Any) -> None:
        """Tell those who listen to Celery's events what a worker, which they know by its name, cannot tell."""
        if self.breaker.allows():
            with self.plugin.app.producer_pool.acquire(block=True) as producer:
                self.guarded(producer, lambda: publish_event(self.plugin.app, producer, hostname, kind, fields))

    def send_now(self, job_ids: list[str]) -> int:
        """Send those of the jobs that are pending and unsent; gives how many went out."""
        from celery_jobs.store import sends

        return self.send(sends.take_now(self.plugin.db, job_ids)) if job_ids else 0

    def send_stored(self, job_ids: list[str]) -> int:
        """Send jobs that their transition has marked as sent; gives how many went out."""
        from celery_jobs.store import sends

        return self.send(sends.fetch(self.plugin.db, job_ids), announce=True)

    def _announce(self, producer: Producer, jobs: Sequence[Outgoing]) -> None:
        """Nice to have, never an error of the job."""
        if jobs and self.plugin.app.conf.task_send_sent_event and self.breaker.allows():
            self.guarded(producer, lambda: publish_sent(self.plugin.app, producer, jobs))

    def _send(self, producer: Producer, jobs: list[Outgoing]) -> int:
        """Send a batch in one go where the transport can; what fails is marked unsent."""
        at_once = len(jobs) > 1 and producer.supports_batch_publish
        if at_once:
            went = self._send_at_once(producer, jobs, lambda: self._push_copies(producer, jobs))
            if went is not None:
                return went
        made = [(job, message) for job in jobs if (message := self._made(producer, job)) is not None]
        if at_once and len(made) > 1:
            sound, messages = [job for job, _ in made], [message for _, message in made]
            went = self._send_at_once(producer, sound, lambda: _publish_batch(producer, messages))
            if went is not None:
                return went
        tried = [(job, self._send_one(producer, job, *message)) for job, message in made]
        self.note_unsent([job for job, sent in tried if sent is False])
        return sum(sent is True for _, sent in tried)

    def _send_at_once(self, producer: Producer, jobs: list[Outgoing], act: Callable[[], object]) -> int | None:
        """Send jobs in one go; None, for an error that is not the broker's: some need another way than the others."""
        if not self.breaker.allows():
            return None
        with suppress(Exception):
            if self.guarded(producer, act):
                return len(jobs)
            self.note_unsent(jobs)
            return 0
        return None

    def _push_copies(self, producer: Producer, jobs: list[Outgoing]) -> None:
        """Send jobs as copies of messages that kombu makes; raises NoCopies."""

        def push_all() -> None:
            push(producer, copies_of(producer, jobs, lambda job: self.message(producer, job)))
            failpoints.reach("send.sent")

        failpoints.reach("send.begun")
        on_a_live_connection(producer, push_all)

    def _send_one(self, producer: Producer, job: Outgoing, body: bytes, options: dict[str, Any]) -> bool | None:
        """Send a job alone; None: it is no message for this broker."""
        try:
            return self.breaker.allows() and self.publish(producer, body, **options)
        except Exception as error:
            self._give_up(job, error)
            return None

    def _made(self, producer: Producer, job: Outgoing) -> tuple[bytes, dict[str, Any]] | None:
        """The message of a job; None where this process cannot make it."""
        try:
            if job.message.compression:
                get_encoder(job.message.compression)  # in the sending, Redis' transport takes a KeyError for its own
            return self.message(producer, job)
        except Exception as error:
            self._give_up(job, error)
            return None

    def _give_up(self, job: Outgoing, error: Exception) -> None:
        """Leave a job marked as sent, so that its tries have an end."""
        emit(Kind.UNSENT, job_id=job.job_id, error=self.plugin.masked(repr(error)))

    def message(self, producer: Producer, job: Outgoing) -> tuple[bytes, dict[str, Any]]:
        """Body and options that kombu's `publish` takes of a job; raises what its broker or its headers raise."""
        message = job.message
        exchange, routing_key = self._way(producer, job)
        options = {
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "compression": message.compression,
            "headers": headers_for(job),
            "exchange": exchange,
            "routing_key": routing_key,
            "delivery_mode": message.delivery_mode,
            "declare": self._declare(job),
            **properties_for(job),
        }
        return message.body, options

    def _way(self, producer: Producer, job: Outgoing) -> tuple[str, str]:
        message = job.message
        if producer.connection.transport.driver_type != "amqp":
            return message.exchange, message.routing_key
        queues = self.plugin.app.amqp.queues
        return held_way(queues, job.queue, message.exchange, message.routing_key, job.wait)

    def note_unsent(self, jobs: Sequence[Outgoing | Enqueued]) -> None:
        """Mark jobs unsent after a send that failed; without a database the redispatcher finds them later."""
        from celery_jobs.store.sends import mark_unsent

        with suppress(StoreUnavailable):
            mark_unsent(self.plugin.db, [(job.job_id, job.sent_at) for job in jobs if job.sent_at is not None])
        for job in jobs:
            emit(Kind.UNSENT, job_id=job.job_id, error="the broker did not take it")

    def _declare(self, job: Outgoing) -> list[Any]:
        queues = self.plugin.app.amqp.queues
        known = job.queue in queues or (job.message.exchange == "" and queues.create_missing)
        if not known:
            return []
        queue = queues[job.queue]
        # A broadcast has a queue for each consumer: one that a sender makes fills up, and nobody ever reads it.
        return [queue.exchange if isinstance(queue, Broadcast) else queue]

    def _bound(self, producer: Producer) -> None:
        """Bound how long a producer's connection waits for the broker; consumers have connections of their own."""
        connection, seconds = producer.connection, self.plugin.settings.broker_timeout
        connection.connect_timeout = min(connection.connect_timeout or seconds, seconds)
        for option in _TIMEOUTS.get(connection.transport.driver_type, ()):
            connection.transport_options.setdefault(option, seconds)
        if connection.transport.driver_type == "amqp":
            # Without it RabbitMQ says nothing of a message that it loses, and the row would say it was sent.
            connection.transport_options.setdefault("confirm_publish", True)


_TIMEOUTS = {
    "redis": ("socket_timeout", "socket_connect_timeout"),
    "amqp": ("read_timeout", "write_timeout"),
}


def _publish(producer: Producer, body: bytes, options: dict[str, Any], ahead: Ahead | None) -> None:
    def publish() -> None:
        if ahead is not None and ahead.is_made:
            ahead.send()
        else:
            producer.publish(body, **options)
        failpoints.reach("send.sent")

    failpoints.reach("send.begun")
    on_a_live_connection(producer, publish)


def _declare_replies(backend: Any, producer: Producer) -> None:
    """What the `on_task_call` of rpc:// does, without its retry, which has no end."""
    maybe_declare(backend.binding(producer.channel))


def _publish_batch(producer: Producer, messages: list[tuple[bytes, dict[str, Any]]]) -> None:
    """Publish many at once; again on a new connection where the old one had been closed under it.

    Some may then be there twice, which is harmless; the batch itself is never tried again by the transport.
    """

    def publish() -> None:
        declared: set[str] = set()
        with producer.batch():
            for body, options in messages:
                new = [queue for queue in options["declare"] if queue.name not in declared]  # kombu binds each anew
                producer.publish(body, **{**options, "declare": new})
                declared.update(queue.name for queue in new)
        failpoints.reach("send.sent")

    failpoints.reach("send.begun")
    on_a_live_connection(producer, publish)


def sender_of(plugin: Plugin) -> Sender:
    """This process's sender of an app."""
    found: tuple[int, Sender] | None = plugin.__dict__.get("_sender")
    if found is None or found[0] != os.getpid():
        found = plugin.__dict__["_sender"] = (os.getpid(), Sender(plugin))
    return found[1]
