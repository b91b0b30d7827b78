"""A call like earlier ones is a copy of their job: Celery takes as long to make a message as PostgreSQL to keep it.

Celery makes the first calls of a kind; from then on only what differs is made anew. Whatever could have Celery make
the next call otherwise, a setting, a receiver of a signal, a batch, a task that calls, has Celery make it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any

from celery_jobs import batch, execution
from celery_jobs.ahead import Ahead, has_moments
from celery_jobs.errors import InvalidJob
from celery_jobs.events import Kind, emit
from celery_jobs.ids import new_id
from celery_jobs.publisher import published_by
from celery_jobs.sending import sender_of
from celery_jobs.submission import Submission, submission_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from kombu import Producer

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, NewJob
    from celery_jobs.template import Template

__all__ = ["Repeats"]

MOST_KINDS = 500
"""Kinds of calls that are kept; where a key of the caller's own is part of it, each call may be another kind."""

_SAME = frozenset(
    [
        *("queue", "exchange", "routing_key", "priority", "serializer", "compression", "delivery_mode", "shadow"),
        *("time_limit", "soft_time_limit", "ignore_result", "callback_url", "max_attempts", "max_retries"),
        *("concurrency_key", "concurrency_limit", "job_priority"),
    ]
)
"""Options that say the same of every call, whatever its arguments."""

_UNSAID = frozenset(["task_id", "producer", "link", "link_error", "expires", "immediate", "mandatory"])
"""Options that Celery hands on where the caller says nothing: then they are None."""

_PLAIN = (str, int, float, bool)
_NOT_A_STEP = {"publisher": None, "is_step": False}


@dataclass(slots=True)
class _Kind:
    """Calls of one task with the same options, as long as their circumstances are the same."""

    circumstances: tuple[Any, ...]
    is_learned: bool = False
    template: Template | None = None


class Repeats:
    """The calls of `send_task` that this process has seen of one app.

    `is_seam`: whether Celery would still hand the message to the plugin, and to nobody before it.
    """

    def __init__(self, plugin: Plugin, is_seam: Callable[[], bool]) -> None:
        self._plugin = plugin
        self._is_seam = is_seam
        self._kinds: dict[Any, _Kind] = {}

    def enqueue(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], make: Callable[[], Any]
    ) -> Any | None:
        """Celery's result of a call that is a copy, or the pattern of copies, stored and sent; None: there are none.

        `make` has Celery make it. Raises StoreUnavailable, and what `make` raises.
        """
        said = {option: value for option, value in options.items() if option not in ("task_type", "result_cls")}
        args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
        if type(args) is not tuple or type(kwargs) is not dict or not _is_plain(said) or not self._is_called():
            return None
        kind = self._kind(name, options.get("task_type") is None, said)
        if kind is None:
            return None
        if not kind.is_learned:
            return self._learn(kind, args, kwargs, make)
        if kind.template is None:
            return None
        try:
            job = kind.template.fill(args, kwargs, None).job
        except InvalidJob:  # Celery's own way says it
            return None
        enqueued = self._enqueue(job, bool(options.get("ignore_result")))
        result = (options.get("result_cls") or self._plugin.app.AsyncResult)(job.task_id)
        result.ignored = options.get("ignore_result")
        Submission(enqueued=enqueued).tell(result)
        return result

    def _is_called(self) -> bool:
        """Whether it is a call from outside: of no task, no batch, no end of a chain, and the broker seems to be up."""
        return (
            execution.current() is None
            and submission_here.get() is None
            and batch.current(self._plugin) is None
            and published_by(self._plugin.app, None) == _NOT_A_STEP
            and sender_of(self._plugin).breaker.is_closed  # to ask `allows` would take the turn of who tries
        )

    def _kind(self, name: str, by_name: bool, said: dict[str, Any]) -> _Kind | None:
        """What is known of such calls: nothing at the first, nor where they could not be copies.

        `by_name`: Celery then looks up the options of the task.
        """
        from celery_jobs.template import makes_as_ever

        if not self._is_seam() or not makes_as_ever(self._plugin, name):
            return None  # Celery hands each to somebody else
        like = (os.getpid(), name, by_name, tuple(said.items()), tuple(map(type, said.values())))
        now = self._circumstances(name)
        kind = self._kinds.get(like)
        if kind is None or not _same(kind.circumstances, now):
            if self._plugin.app.conf.task_send_sent_event:
                return None  # Celery also tells of each
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            self._kinds[like] = _Kind(now)
            return None
        return kind

    def _circumstances(self, name: str) -> tuple[Any, ...]:
        """What a message is made of besides its call."""
        app, conf = self._plugin.app, self._plugin.app.conf
        changed, *given = conf.maps
        queues, task = app.amqp.queues, self._plugin.task(name)
        return (
            *(conf, app.amqp, app.amqp.router, self._plugin.settings, task, getattr(task, "jobs_level", None)),
            *(conf.task_default_queue, conf.task_repr_maxlevels),  # read at each call
            *(len(changed), *changed, *changed.values(), *given),
            *(*queues, *queues.values()),
        )

    def _learn(self, kind: _Kind, args: tuple[Any, ...], kwargs: dict[str, Any], make: Callable[[], Any]) -> Any:
        """Celery's result of a call that it makes, of which the next ones are to be copies, stored and sent."""
        from celery_jobs.template import Template

        gathering = batch.Batch(self._plugin)
        with gathering.gathering():
            result = make()
        made = gathering.gathered
        if len(made) != 1 or has_moments(made[0].job):
            gathering.store(made)
        else:
            made[0].settle(self._enqueue(made[0].job, ignore_result=not made[0].wants_result))
            if not made[0].job.send:  # the broker has just failed
                return result
            with suppress(InvalidJob):  # arguments that can be read but once
                kind.template = Template.of(self._plugin, made[0], args, kwargs, iter(new_id, None))
        kind.is_learned = True
        return result

    def _enqueue(self, job: NewJob, ignore_result: bool) -> Enqueued:
        """Store a job, and make its message while the database works."""
        from celery_jobs.store.enqueue import enqueue

        sender = sender_of(self._plugin)
        with _Ready(self._plugin, job, ignore_result) as ready:
            enqueued = enqueue(self._plugin.db, job, meanwhile=ready.make)
            emit(Kind.ENQUEUED, job, attempt_number=1)
            is_sent = enqueued.sent_at is None or ready.send()
        if not is_sent:
            sender.note_unsent([enqueued])
        return enqueued


class _Ready:
    """The message of a job that is due at once, and the producer that sends it, both had while the job is stored."""

    def __init__(self, plugin: Plugin, job: NewJob, ignore_result: bool) -> None:
        from celery_jobs.store.rows import Enqueued

        self._plugin = plugin
        self._sender = sender_of(plugin)
        self._outgoing = batch.outgoing(job, Enqueued(job.id, job.task_id))
        self._ignore_result = ignore_result
        self._producer: Producer | None = None
        self._ahead: Ahead | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ahead is not None:
            self._ahead.drop()
        if self._producer is not None:
            self._producer.release()

    def make(self) -> None:
        """Make it, as far as it can be made without the broker; raises nothing: `send` does."""
        with suppress(Exception):
            # Who waits for a producer here would hold a connection of the database.
            producer = self._producer = self._producer or self._plugin.app.producer_pool.acquire(block=False)
            self._ahead = self._ahead or self._made(producer)
            self._ahead.make()

    def send(self) -> bool:
        """Send it; False where the broker failed."""
        producer = self._producer = self._producer or self._plugin.app.producer_pool.acquire(block=True)
        with producer.connection._reraise_as_library_errors():
            task_id, body = self._outgoing.task_id, self._outgoing.message.body
            if not (self._ignore_result or self._sender.announce_result(task_id, producer)):
                return False
            ahead = self._ahead = self._ahead or self._made(producer)
            return self._sender.publish(producer, body, ahead, **ahead.options)

    def _made(self, producer: Producer) -> Ahead:
        return Ahead(producer, *self._sender.message(producer, self._outgoing))


def _is_plain(said: Mapping[str, Any]) -> bool:
    """Whether options hold for any call like it; what is left out and what is None may be two things to Celery."""
    return all(
        option in _SAME and type(value) in _PLAIN if value is not None else option in _SAME or option in _UNSAID
        for option, value in said.items()
    )


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether they are the very same objects; comparing some of them would take long, or raise."""
    return len(before) == len(now) and all(map(is_, before, now))
