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
from celery_jobs.submission import submission_here, tell_result

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
        result_class = options.get("result_cls") or self._plugin.app.AsyncResult
        with _Ready(self._plugin, job, options.get("ignore_result"), result_class) as ready:
            self._store(ready)
            return ready.result()

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
            with _Ready(self._plugin, made[0].job, not made[0].wants_result) as ready:
                made[0].settle(self._store(ready))
            if not made[0].job.send:  # the broker has just failed
                return result
            with suppress(InvalidJob):  # arguments that can be read but once
                kind.template = Template.of(self._plugin, made[0], args, kwargs, iter(new_id, None))
        kind.is_learned = True
        return result

    def _store(self, ready: _Ready) -> Enqueued:
        """Store a job and send it, its message made while the database works."""
        from celery_jobs.store.enqueue import enqueue

        enqueued = enqueue(self._plugin.db, ready.job, meanwhile=ready.make)
        emit(Kind.ENQUEUED, ready.job, attempt_number=1)
        if enqueued.sent_at is not None and not ready.send():
            ready.drop()  # whoever waits for a connection of the database must not have a producer
            sender_of(self._plugin).note_unsent([enqueued])
        return enqueued


class _Ready:
    """What a new job needs that is due at once: its message, who sends it, its result; had while the job is stored."""

    def __init__(self, plugin: Plugin, job: NewJob, ignore_result: Any, result_class: Any = None) -> None:
        self.job = job
        self._plugin = plugin
        self._ignore_result = ignore_result
        self._result_class = result_class
        self._result: Any = None
        self._producer: Producer | None = None
        self._ahead: Ahead | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Give back what is not needed any more."""
        ahead, self._ahead = self._ahead, None
        producer, self._producer = self._producer, None
        if ahead is not None:
            ahead.drop()
        if producer is not None:
            producer.release()

    def make(self) -> None:
        """Make it, as far as it can be made without the broker; raises nothing: `send` does."""
        with suppress(Exception):
            # Who waits for a producer here would hold a connection of the database.
            producer = self._producer = self._producer or self._plugin.app.producer_pool.acquire(block=False)
            self._ahead = self._ahead or self._made(producer)
            self._ahead.make()
            if self._result_class is not None:
                self._result = self._made_result()

    def send(self) -> bool:
        """Send it; False where the broker failed."""
        producer = self._producer = self._producer or self._plugin.app.producer_pool.acquire(block=True)
        sender, ahead = sender_of(self._plugin), self._ahead or self._made(producer)
        with producer.connection._reraise_as_library_errors():
            announced = self._ignore_result or sender.announce_result(self.job.task_id, producer)
            return announced and sender.publish(producer, self.job.message.body, ahead, **ahead.options)

    def _made(self, producer: Producer) -> Ahead:
        from celery_jobs.store.rows import Enqueued

        outgoing = batch.outgoing(self.job, Enqueued(self.job.id, self.job.task_id))
        return Ahead(producer, *sender_of(self._plugin).message(producer, outgoing))

    def result(self) -> Any:
        """Celery's result, of the class that was asked for."""
        return self._made_result() if self._result is None else self._result

    def _made_result(self) -> Any:
        from celery_jobs.store.rows import Enqueued

        result = self._result_class(self.job.task_id)
        result.ignored = self._ignore_result
        tell_result(result, Enqueued(self.job.id, self.job.task_id))
        return result


def _is_plain(said: Mapping[str, Any]) -> bool:
    """Whether options hold for any call like it; what is left out and what is None may be two things to Celery."""
    return all(
        option in _SAME and type(value) in _PLAIN if value is not None else option in _SAME or option in _UNSAID
        for option, value in said.items()
    )


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether they are the very same objects; comparing some of them would take long, or raise."""
    return len(before) == len(now) and all(map(is_, before, now))
