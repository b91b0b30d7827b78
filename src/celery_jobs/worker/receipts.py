"""What a worker tells Redis of its messages: in one round trip for all that a turn of its event loop has brought.

kombu notes in Redis what is fetched, and takes the note away where it is acknowledged. It waits for the answer each
time, and a process of the pool that is free waits with it. For jobs both can wait until the turn is over: a message
that is lost in between is sent again, and one that comes twice is dropped, as the jobs database knows. Of all other
messages Redis is told at once.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from celery_jobs.envelope import JOB_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.worker.consumer import Consumer

__all__ = ["Receipts", "gather_receipts"]


def gather_receipts(consumer: Consumer) -> None:
    """Gather those of a worker's channel: of Redis, with an event loop, and with a pool of processes.

    In other pools a task may begin, and end, before the turn is over.
    """
    channel, transport = consumer.task_consumer.channel, sys.modules.get("kombu.transport.redis")
    is_redis = transport is not None and type(getattr(channel, "qos", None)) is transport.QoS
    if is_redis and consumer.hub is not None and consumer.pool.uses_semaphore:
        Receipts(channel, consumer.hub)


class Receipts:
    """Stands between a channel's notes of its messages and Redis."""

    def __init__(self, channel: Any, hub: Any) -> None:
        qos = channel.qos
        self._hub = hub
        self._errors = channel.connection_errors
        self._thread = threading.get_ident()
        self._jobs: set[str] = set()
        """The delivery tags of jobs' messages."""
        self._gathered: Any = None
        self._pipe_at_once = qos.pipe_or_acquire
        qos.pipe_or_acquire = self._pipe
        qos.append = partial(self._append, qos.append)
        qos.ack = partial(self._settle, qos.ack)
        qos.reject = partial(self._settle, qos.reject)
        qos.restore_by_tag = partial(self._after_all, qos.restore_by_tag)
        qos.restore_unacked_once = partial(self._close, qos.restore_unacked_once)

    @contextmanager
    def _pipe(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """Give what kombu writes its notes on, and has executed after each."""
        if pipe or not self._is_here():
            with self._pipe_at_once(pipe, client) as given:
                yield given
        else:
            yield self._gather()

    def _is_here(self) -> bool:
        """Whether this is the event loop's thread; another may come while that one writes down a note."""
        return threading.get_ident() == self._thread

    def _gather(self) -> Any:
        if self._gathered is None:
            with self._pipe_at_once() as pipe:
                pipe.execute = lambda: None
                self._gathered = pipe
            self._hub.call_soon(self.tell)
        return self._gathered

    def tell(self) -> None:
        """Tell Redis what is gathered; raises what its client raises, and what was gathered is not told again."""
        pipe, self._gathered = self._gathered, None
        if pipe is not None:
            del pipe.execute
            pipe.execute()

    def _append(self, append: Any, message: Any, delivery_tag: str) -> None:
        append(message, delivery_tag)
        if JOB_HEADER in (message.headers or {}):
            self._jobs.add(delivery_tag)
        elif self._is_here():
            self.tell()

    def _settle(self, settle: Any, delivery_tag: str, *more: Any, **options: Any) -> None:
        """Acknowledge or reject."""
        settle(delivery_tag, *more, **options)
        if delivery_tag not in self._jobs and self._is_here():
            self.tell()
        self._jobs.discard(delivery_tag)

    def _after_all(self, act: Any, *arguments: Any, **options: Any) -> Any:
        """Putting a message back reads the note of it."""
        self.tell()
        return act(*arguments, **options)

    def _close(self, restore: Any, *arguments: Any, **options: Any) -> Any:
        with suppress(*self._errors):
            self.tell()
        return restore(*arguments, **options)
