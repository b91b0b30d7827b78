"""The producer's seam: every task message passes here, is recorded, and only then sent or held.

Celery hands `send_task_message` a producer; ours stands in for it. That is the one waist which `.delay()`,
`send_task`, canvas, retries and beat all pass, after routing and after tracing headers are in.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

from celery_jobs import batch, execution
from celery_jobs.arguments import mask_reprs
from celery_jobs.canvas import following_calls
from celery_jobs.envelope import JOB_HEADER, capture, moments_for, queue_of
from celery_jobs.errors import DuplicateJob
from celery_jobs.events import Kind, emit
from celery_jobs.ids import new_id
from celery_jobs.options import JobOptions, take_options
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.priority import broker_priority, sql_priority
from celery_jobs.recording import Wire, make_job, queue_of_retry, read_wire, require_carried
from celery_jobs.sending import sender_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery
    from kombu import Producer

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, Message, NewJob

__all__ = ["Submission", "install_seams"]


@dataclass(slots=True)
class Submission:
    """One enqueue on its way from `send_task` to the seam, and what the seam made of it."""

    options: JobOptions = field(default_factory=JobOptions)
    delay: float | None = None
    expires_in: float | None = None
    """Seconds; what a caller gives as a number counts by the database's clock, as a delay does."""
    celery_priority: int | None = None
    ignore_result: bool = False
    own_id: str | None = None
    enqueued: Enqueued | None = None
    result: Any = None

    def settle(self, enqueued: Enqueued) -> None:
        """Note the job that was made or found, on the caller's AsyncResult too where it has that already."""
        self.enqueued = enqueued
        if self.result is not None:
            self.tell(self.result)

    def tell(self, result: Any) -> None:
        """Make an AsyncResult that of the job, with `job_id` and `deduplicated` on it."""
        self.result = result
        if self.enqueued is not None:
            if str(result.id) != self.enqueued.task_id:  # a caller's UUID stays one: Celery stores the result under it
                result.id = self.enqueued.task_id
            result.job_id = self.enqueued.job_id
            result.deduplicated = self.enqueued.deduplicated
            result.payload_mismatch = self.enqueued.payload_mismatch


_submission: ContextVar[Submission | None] = ContextVar("celery_job_submission", default=None)


def install_seams(plugin: Plugin) -> None:
    """Put the seams of the producer's side into an app."""
    app = plugin.app
    app.send_task = _wrap_send_task(plugin, app.send_task)
    amqp = app.amqp
    amqp._create_task_sender = _wrap_sender_factory(plugin, amqp._create_task_sender)
    amqp.__dict__.pop("send_task_message", None)


def _wrap_send_task(plugin: Plugin, original: Callable[..., Any]) -> Callable[..., Any]:
    """`send_task`, giving back the existing job's result where the seam found a duplicate."""

    def send_task(
        name: str, args: Any = None, kwargs: Any = None, countdown: float | None = None, **options: Any
    ) -> Any:
        if not plugin.app.conf.task_always_eager:
            _check_calls(plugin, name, args, kwargs, options)
        if not plugin.manages(name) or plugin.app.conf.task_always_eager:
            return original(name, args, kwargs, countdown, **options)
        submission = Submission(take_options(options), delay=countdown)
        submission.celery_priority = options.get("priority")
        submission.expires_in = _seconds(options.get("expires"))
        submission.ignore_result = bool(options.get("ignore_result"))
        if submission.options.delay is not None:
            submission.delay = countdown = submission.options.delay
        if submission.options.scheduled_at is not None:
            options["eta"] = submission.options.scheduled_at
        if options.get("task_id") is None:
            options["task_id"] = submission.own_id = new_id()
        token = _submission.set(submission)
        try:
            _defer_task_call(plugin.app)
            result = original(name, args, kwargs, countdown, **options)
        finally:
            _submission.reset(token)
        submission.tell(result)
        return result

    send_task.__wrapped__ = original  # type: ignore[attr-defined]
    return send_task


def _seconds(expires: Any) -> float | None:
    return float(expires) if isinstance(expires, Real) else None


def _check_calls(plugin: Plugin, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
    """Let a task that has rules for its arguments refuse them, whatever door they come through, and of what follows.

    What Celery publishes at the end of another call is let through, and fails itself: that call has nothing wrong.
    """
    running = execution.current()
    if options.get("root_id") is not None or (running is not None and running.body_done):
        return
    first = {"task": name, "args": args, "kwargs": kwargs}
    for call, handed in ((first, False), *following_calls(options)):
        if call.get("task") == HTTP_TASK and HTTP_TASK in plugin.app.tasks:
            plugin.app.tasks[HTTP_TASK].check_call(call.get("args") or (), call.get("kwargs") or {}, handed)


def _defer_task_call(app: Celery) -> None:
    """`send_task` calls the backend before the seam: an unreachable one must not stop an enqueue."""
    backend = app.backend
    if "on_task_call" in backend.__dict__:
        return
    original = backend.on_task_call

    def on_task_call(producer: Any, task_id: str) -> Any:
        return {} if _submission.get() is not None else original(producer, task_id)

    on_task_call.__wrapped__ = original  # type: ignore[attr-defined]
    backend.on_task_call = on_task_call


def _wrap_sender_factory(plugin: Plugin, original: Callable[[], Any]) -> Callable[[], Any]:
    def create_task_sender() -> Any:
        send = original()

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            if plugin.manages(name):
                producer = RecordingProducer(plugin, producer)
            return send(producer, name, message, **options)

        return send_task_message

    return create_task_sender


class RecordingProducer:
    """Stands in for a kombu Producer: a task message is recorded first; anything else passes."""

    def __init__(self, plugin: Plugin, producer: Producer) -> None:
        self._plugin = plugin
        self._producer = producer
        self._headers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Record a task message and send it, hold it, or note it as the retry of the running attempt."""
        wire = read_wire(self._plugin, options.get("headers") or {}, body)
        if wire is None:
            return self._publish_event(body, options)
        if "headers" in options:
            options["headers"] = self._headers = mask_reprs(self._plugin, wire.task, options["headers"], body)
        running, submission = execution.current(), _submission.get() or Submission()
        if running is not None and running.is_retried_by(wire):
            running.following = self._retry(running, wire, body, options, submission)
            return None
        require_carried(self._producer.connection.transport.driver_type, wire.task_id)
        self._set_priority(options, submission)
        message = capture(body, options, self._plugin.settings.max_payload_bytes)
        job = self._job(wire, message, options, submission)
        gathering = batch.current(self._plugin)
        replaces = running is not None and running.is_replaced_by(wire)
        if gathering is not None and not replaces:
            accept = partial(self._refuse_alias, wire, submission, running)
            gathering.add(batch.Gathered(job, accept, submission.settle, not submission.ignore_result))
            return None
        enqueued = self._record(job, patient=running is not None and running.body_done)
        submission.settle(enqueued)
        if running is not None and replaces:
            running.replaced_by = enqueued.job_id
        self._refuse_alias(wire, submission, running, enqueued)
        if enqueued.sent_at is not None:
            self._send(wire, message, options, enqueued, submission)
        return None

    def _set_priority(self, options: dict[str, Any], submission: Submission) -> None:
        """Our doors count higher first; an unmarked message counts as 0 (semantics.md section 4)."""
        if not self._plugin.settings.broker_priorities:
            return
        if submission.options.job_priority is not None or options.get("priority") is None:
            driver = self._producer.connection.transport.driver_type
            priority = broker_priority(driver, submission.options.job_priority or 0)
            if priority is not None:
                options["priority"] = priority

    def _job(self, wire: Wire, message: Message, options: dict[str, Any], submission: Submission) -> NewJob:
        more: dict[str, Any] = {
            "priority": self._priority(options, submission),
            "send": sender_of(self._plugin).breaker.allows(),
        }
        if submission.own_id == wire.task_id:
            more["id"] = wire.task_id
        if submission.delay is not None:
            more.update(delay=submission.delay, scheduled_at=None)
        if submission.expires_in is not None:
            more.update(expires_in=submission.expires_in, expires_at=None)
        queue = queue_of(self._plugin.app.amqp.queues, options)
        return make_job(self._plugin, wire, message, queue, submission.options, **more)

    def _record(self, job: NewJob, patient: bool) -> Enqueued:
        """`patient`: an attempt that has done its work waits for the database, also with what follows it."""
        from celery_jobs.store.enqueue import enqueue

        enqueued = enqueue(self._plugin.db, job, patient)
        if not enqueued.deduplicated:
            emit(Kind.ENQUEUED, job, attempt_number=1)
        return enqueued

    def _priority(self, options: dict[str, Any], submission: Submission) -> int:
        if submission.options.job_priority is not None:
            return submission.options.job_priority
        return sql_priority(self._producer.connection.transport.driver_type, submission.celery_priority)

    def _refuse_alias(
        self, wire: Wire, submission: Submission, running: execution.Execution | None, enqueued: Enqueued
    ) -> None:
        """A member of a group, chord or chain is never silently another job (semantics.md section 10)."""
        step = wire.in_canvas or (running is not None and running.body_done)
        if enqueued.deduplicated and step and enqueued.task_id != wire.task_id:
            raise DuplicateJob(
                f"the idempotency key {submission.options.idempotency_key!r} belongs to the job "
                f"{enqueued.job_id}; a member of a group, chord or chain cannot be another job"
            )

    def _send(
        self,
        wire: Wire,
        message: Message,
        options: dict[str, Any],
        enqueued: Enqueued,
        submission: Submission,
    ) -> None:
        plain = {k: v for k, v in options.items() if k not in ("serializer", "retry", "retry_policy")}
        assert enqueued.sent_at is not None
        headers = options.get("headers") or {}
        moments = moments_for(enqueued.sent_at, enqueued.wait, enqueued.expires_at, headers.get("eta"))
        plain["headers"] = {**headers, **moments, JOB_HEADER: enqueued.job_id}
        plain.update(content_type=message.content_type, content_encoding=message.content_encoding)
        sender = sender_of(self._plugin)
        announced = submission.ignore_result or sender.announce_result(wire.task_id, self._producer)
        if not (announced and sender.publish(self._producer, message.body, **plain)):
            sender.note_unsent([enqueued])

    def _publish_event(self, body: Any, options: dict[str, Any]) -> None:
        """An event about a task message: nice to have, never an error of the enqueue."""
        sender = sender_of(self._plugin)
        if isinstance(body, dict) and "argsrepr" in self._headers and "args" in body:
            body = {**body, "args": self._headers["argsrepr"], "kwargs": self._headers["kwargsrepr"]}
        if sender.breaker.allows():
            sender.guarded(self._producer, lambda: self._producer.publish(body, **{**options, "retry": False}))

    def _retry(
        self, running: execution.Execution, wire: Wire, body: Any, options: dict[str, Any], submission: Submission
    ) -> Any:
        from celery_jobs.store.chains import Next

        counted = submission.delay is not None  # a countdown counts by the database's clock, from the finish
        return Next(
            delay=submission.delay or 0,
            scheduled_at=None if counted else wire.eta,
            message=capture(body, options, self._plugin.settings.max_payload_bytes),
            queue=queue_of_retry(self._plugin, running.task.request.delivery_info or {}, options),
            expires_at=wire.expires_at,
        )
