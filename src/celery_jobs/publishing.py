"""The producer's seam: every task message passes here, is recorded, and only then sent or held.

Celery hands `send_task_message` a producer; ours stands in for it. That is the one waist which `.delay()`,
`send_task`, canvas, retries and beat all pass, after routing and after tracing headers are in.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.app import amqp as app_amqp

from celery_jobs import batch, execution
from celery_jobs.ahead import ahead_of, sent_with
from celery_jobs.arguments import mask_reprs
from celery_jobs.delayed_delivery import plain_options
from celery_jobs.envelope import JOB_HEADER, capture, moments_for, queue_of, queue_of_retry
from celery_jobs.errors import DuplicateJob, InvalidJob
from celery_jobs.events import Kind, emit
from celery_jobs.priority import broker_priority, sql_priority
from celery_jobs.publisher import published_by
from celery_jobs.recording import Wire, make_job, read_wire, require_carried, require_sent
from celery_jobs.replaced import send_replaced, tell_enqueued
from celery_jobs.sending import sender_of
from celery_jobs.submission import Submission, submission_here
from celery_jobs.submitting import install_send_task
from celery_jobs.ticks import tick_here
from celery_jobs.unchanged import is_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Producer

    from celery_jobs.ahead import Ahead
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, Message, NewJob
    from celery_jobs.ticks import Tick

__all__ = ["install_seams"]

_THIS = sys.modules[__name__]


def install_seams(plugin: Plugin) -> None:
    """Put the seams of the producer's side into an app."""
    amqp = plugin.app.amqp
    original = amqp._create_task_sender
    install_send_task(plugin, lambda: is_own(original, app_amqp) and is_own(amqp.send_task_message, _THIS))
    amqp._create_task_sender = _wrap_sender_factory(plugin, original)
    amqp.__dict__.pop("send_task_message", None)


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
        self._unheard = False
        """Whether nothing was published that an event could be about: no new job, or one that is told of later."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Record a task message and send it, hold it, or note it as the retry of the running attempt."""
        wire = read_wire(self._plugin, options.get("headers") or {}, body)
        if wire is None:
            return self._publish_event(body, options)
        if "headers" in options:
            options["headers"] = self._headers = mask_reprs(self._plugin, wire.task, options["headers"], body)
        running, submission = execution.current(), submission_here.get() or Submission()
        if running is not None and running.is_retried_by(wire):
            running.following = self._retry(running, wire, body, options, submission)
            self._unheard = True
            return None
        require_carried(self._producer.connection.transport.driver_type, wire.task_id)
        self._set_priority(options, submission)
        plain = plain_options(self._plugin.app.amqp.queues, options)
        message = capture(body, plain, self._plugin.settings.max_payload_bytes, self._plugin.sealer)
        job = self._job(wire, message, plain, submission)
        replaces = running is not None and running.is_replaced_by(wire)
        if not replaces and self._gather(wire, job, submission, running):
            self._unheard = True
            return None
        with ahead_of(self._producer, job, message, options) or nullcontext() as ahead:
            enqueued = self._record(job, running is not None and running.body_done, ahead)
            self._unheard = enqueued.deduplicated
            submission.settle(enqueued)
            if running is not None and replaces:
                running.replaced_by = enqueued.job_id
            self._refuse_alias(wire, submission, running, enqueued)
            if enqueued.replaced:
                send_replaced(self._plugin, [enqueued])
            elif enqueued.sent_at is not None:
                self._send(wire, message, options, enqueued, submission, ahead)
        return None

    def _gather(self, wire: Wire, job: NewJob, submission: Submission, running: execution.Execution | None) -> bool:
        """Leave a job to its batch, or to the transaction of the caller's own that it is to be part of."""
        gathering, session = batch.current(self._plugin), submission.options.session
        if gathering is None and session is None:
            return False
        if gathering is not None and session not in (None, gathering.session):
            raise InvalidJob("session", "inside a batch of another transaction; give the session to the batch")
        accept = partial(self._refuse_alias, wire, submission, running)
        gathered = batch.Gathered(job, accept, submission.settle, not submission.ignore_result)
        if gathering is not None:
            gathering.add(gathered)
        else:
            batch.Batch(self._plugin, session).store([gathered])
        return True

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
        running, breaker = execution.current(), sender_of(self._plugin).breaker
        sent_later = batch.current(self._plugin) is not None or submission.options.session is not None
        more: dict[str, Any] = {
            **published_by(self._plugin.app, None if running is None else running.job.original_id),
            "priority": self._priority(options, submission),
            "send": breaker.would_allow if sent_later else breaker.allows(),
        }
        if submission.own_id == wire.task_id:
            more["id"] = wire.task_id
        if submission.delay is not None:
            more.update(delay=submission.delay, scheduled_at=None)
        if submission.expires_in is not None:
            more.update(expires_in=submission.expires_in, expires_at=None)
        step = wire.in_canvas or (running is not None and running.body_done)
        if step and submission.options.on_conflict == "replace":
            raise InvalidJob("on_conflict", "a member of a group, chord or chain cannot be another job")
        queue = queue_of(self._plugin.app.amqp.queues, options)
        require_sent(self._plugin, queue)
        return make_job(self._plugin, wire, message, queue, submission.options, **more)

    def _record(self, job: NewJob, patient: bool, ahead: Ahead | None) -> Enqueued:
        """`patient`: an attempt that has done its work waits for the database, also with what follows it."""
        from celery_jobs.store.enqueue import enqueue

        if (tick := tick_here.get()) is not None and tick.take(job.task):
            return self._record_tick(job, tick)
        enqueued = enqueue(self._plugin.db, job, patient, None if ahead is None else ahead.make)
        tell_enqueued(job, enqueued)
        return enqueued

    def _record_tick(self, job: NewJob, tick: Tick) -> Enqueued:
        """The job of a tick of beat's, or the one that the tick has (semantics.md section 10)."""
        from celery_jobs.store.ticks import enqueue

        enqueued, is_new = enqueue(self._plugin.db, job, tick.said())
        if not is_new:
            fields = {"job_id": enqueued.job_id, "task_id": enqueued.task_id, "queue": job.queue, "task": job.task}
            emit(Kind.TICK_SKIPPED, schedule=str(tick.entry.name), reason="same_tick", **fields)
        else:
            tell_enqueued(job, enqueued)
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
        ahead: Ahead | None,
    ) -> None:
        assert enqueued.sent_at is not None
        if ahead is None:
            asked = (options.get("headers") or {}).get("eta")
            moments = moments_for(enqueued.sent_at, enqueued.due_at, enqueued.expires_at, asked)
            plain = sent_with(options, message, {**moments, JOB_HEADER: enqueued.job_id})
        else:
            plain = ahead.options
        sender = sender_of(self._plugin)
        announced = submission.ignore_result or sender.announce_result(wire.task_id, self._producer)
        if not (announced and sender.publish(self._producer, message.body, ahead, **plain)):
            sender.note_unsent([enqueued])

    def _publish_event(self, body: Any, options: dict[str, Any]) -> None:
        """An event about a task message: nice to have, never an error of the enqueue."""
        if self._unheard:
            return
        sender = sender_of(self._plugin)
        if isinstance(body, dict) and "argsrepr" in self._headers and "args" in body:
            body = {**body, "args": self._headers["argsrepr"], "kwargs": self._headers["kwargsrepr"]}
        if sender.breaker.allows():
            sender.guarded(self._producer, lambda: self._producer.publish(body, **{**options, "retry": False}))

    def _retry(
        self, running: execution.Execution, wire: Wire, body: Any, options: dict[str, Any], submission: Submission
    ) -> Any:
        from celery_jobs.store.chains import Next

        queues = self._plugin.app.amqp.queues
        options = plain_options(queues, options)
        queue = queue_of_retry(queues, options, running.task.request.delivery_info or {})
        if queue not in (None, running.job.queue):
            require_sent(self._plugin, str(queue))
        counted = submission.delay is not None  # a countdown counts by the database's clock, from the finish
        return Next(
            delay=submission.delay or 0,
            scheduled_at=None if counted else wire.eta,
            message=capture(body, options, self._plugin.settings.max_payload_bytes, self._plugin.sealer),
            queue=queue,
            expires_at=wire.expires_at,
        )
