"""What stands in for the broker of a sandbox: jobs' messages are dropped, as their rows are run; others are kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery_jobs.envelope import capture, queue_of
from celery_jobs.recording import read_wire
from celery_jobs.sending import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime

    from kombu import Producer

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Message, Outgoing
    from celery_jobs.testing.clock import VirtualClock

__all__ = ["KeepingProducer", "Kept", "KeptMessages", "SilentSender"]


class SilentSender(Sender):
    """A sender that takes every message and drops it."""

    def guarded(self, producer: Producer, act: Callable[[], object], is_connected: bool = False) -> bool:
        """Do nothing with the broker, which is well."""
        return True

    def send(self, jobs: Iterable[Outgoing], announce: bool = False) -> int:
        """Take stored jobs; gives how many."""
        return len(list(jobs))

    def announce(self, jobs: Iterable[Outgoing]) -> None:
        """Nobody listens."""

    def say(self, hostname: str, kind: str, **fields: Any) -> None:
        """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message of a task that is no job: Celery's own, such as the end of a replaced group, or one left alone."""

    task: str
    queue: str
    scheduled_at: datetime
    message: Message


class KeptMessages:
    """The messages that no row stands for, in the order of their publishing."""

    def __init__(self, plugin: Plugin, clock: VirtualClock) -> None:
        self._plugin = plugin
        self._clock = clock
        self._kept: list[Kept] = []

    def keep(self, body: Any, options: dict[str, Any]) -> None:
        """Keep a task's message; an event about one is dropped."""
        wire = read_wire(self._plugin, options.get("headers") or {}, body)
        if wire is not None:
            message = capture(body, options, limit=sys.maxsize)  # of no job, so not held to what a job may carry
            queue = queue_of(self._plugin.app.amqp.queues, options)
            self._kept.append(Kept(wire.task, queue, wire.eta or self._clock.now, message))

    def next(self, tasks: Collection[str], queue: str | None) -> Kept | None:
        """The first that is due of the named tasks and the queue, or of any; it stays here until it is taken."""
        fit = [kept for kept in self._kept if kept.task in tasks and queue in (None, kept.queue)]
        return min(fit, key=lambda kept: kept.scheduled_at, default=None)

    def take(self, kept: Kept) -> Message:
        """Take a message out, to be run."""
        self._kept.remove(kept)
        return kept.message

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept)


class KeepingProducer:
    """Stands in for a kombu Producer: what it is to publish is kept here."""

    def __init__(self, producer: Producer, kept: KeptMessages) -> None:
        self._producer = producer
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> None:
        """Keep a message."""
        self._kept.keep(body, options)
