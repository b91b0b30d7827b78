"""What happens to jobs, told to whoever subscribes. Listeners never decide, and a failing one breaks nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from celery_jobs.redaction import redact

__all__ = ["DETAILS", "FIELDS", "Event", "Kind", "emit", "mask", "subscribe", "subscribers", "unsubscribe"]

Subscriber = Callable[["Event"], object]

_subscribers: list[Subscriber] = []
_masked: frozenset[str] = frozenset()


class Kind(StrEnum):
    """What can happen: to a job, its message, a worker, a service, the jobs database."""

    ENQUEUED = "job.enqueued"
    ADOPTED = "job.adopted"
    REPLAYED = "job.replayed"
    REPLACED = "job.replaced"
    PROMOTED = "job.promoted"
    FIRED = "job.fired"
    STARTED = "job.started"
    COMPLETED = "job.completed"
    RETRIED = "job.retried"
    DEAD_LETTERED = "job.dead_lettered"
    FAILED_NO_RETRIES = "job.failed_no_retries"
    CANCEL_REQUESTED = "job.cancel_requested"
    CANCELLED = "job.cancelled"
    RELEASED = "job.released"
    LOST = "job.lost"
    FENCED = "job.fenced"
    REFUSED = "job.refused"
    DROPPED = "job.dropped"
    GONE = "job.gone"
    UNSENT = "job.unsent"
    SENT_AGAIN = "job.sent_again"
    UNTOLD = "job.untold"
    CALLBACK_SENT = "job.callback_sent"
    CALLBACK_FAILED = "job.callback_failed"
    PURGED = "job.purged"
    DELETED = "job.deleted"
    ERASED = "job.erased"
    KEY_RELEASED = "job.key_released"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_RESUMED = "queue.resumed"
    SCHEDULE_SET = "schedule.set"
    SCHEDULE_PAUSED = "schedule.paused"
    SCHEDULE_RESUMED = "schedule.resumed"
    SCHEDULE_REMOVED = "schedule.removed"
    SCHEDULE_RAN = "schedule.ran"
    SCHEDULE_FAILED = "schedule.failed"
    TICKED = "schedule.ticked"
    TICK_SKIPPED = "schedule.tick_skipped"
    ALERT_SENT = "alert.sent"
    ALERT_FAILED = "alert.failed"
    WORKER_STARTED = "worker.started"
    WORKER_DEAD = "worker.dead"
    SERVICE_RAN = "service.ran"
    SERVICE_FAILED = "service.failed"
    STORE_UNAVAILABLE = "store.unavailable"


DETAILS: dict[Kind, tuple[str, ...]] = {
    Kind.RETRIED: ("next_job_id", "scheduled_at"),
    Kind.DEAD_LETTERED: ("error",),
    Kind.FAILED_NO_RETRIES: ("error",),
    Kind.CANCELLED: ("error",),
    Kind.REFUSED: ("reason", "error"),
    Kind.DROPPED: ("reason",),
    Kind.GONE: ("database",),
    Kind.UNSENT: ("error",),
    Kind.UNTOLD: ("error",),
    Kind.CALLBACK_SENT: ("status", "duration_ms"),
    Kind.CALLBACK_FAILED: ("error", "tries", "again_in"),
    Kind.QUEUE_PAUSED: ("until", "by", "reason"),
    Kind.QUEUE_RESUMED: ("sent",),
    Kind.SCHEDULE_SET: ("schedule", "created"),
    Kind.SCHEDULE_PAUSED: ("schedule", "by", "reason"),
    Kind.SCHEDULE_RESUMED: ("schedule",),
    Kind.SCHEDULE_REMOVED: ("schedule",),
    Kind.SCHEDULE_RAN: ("schedule",),
    Kind.SCHEDULE_FAILED: ("schedule", "error"),
    Kind.TICKED: ("schedule",),
    Kind.TICK_SKIPPED: ("schedule", "reason"),
    Kind.ALERT_SENT: ("dead_letters",),
    Kind.ALERT_FAILED: ("dead_letters", "error", "again_in"),
    Kind.WORKER_STARTED: ("database",),
    Kind.WORKER_DEAD: ("worker",),
    Kind.SERVICE_RAN: ("service", "handled"),
    Kind.SERVICE_FAILED: ("service", "error"),
    Kind.STORE_UNAVAILABLE: ("error",),
}
"""What an event of a kind has beside its job: `scheduled_at` a moment; `handled`, `sent`, `dead_letters`, `status`,
`duration_ms`, `tries` and `again_in` (seconds, None: never) numbers; `created` true where
there was none before; the others texts.

`error` is masked as `jobs_redact` says, and None where nothing was said.
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, to a job unless its fields are None.

    Fields that are not known where it happens are None; `details` holds what DETAILS lists for its kind; `tags` are
    masked as `jobs_redact` says.
    """

    kind: Kind
    job_id: str | None = None
    original_id: str | None = None
    task_id: str | None = None
    task: str | None = None
    queue: str | None = None
    attempt_number: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    tags: list[str] | dict[str, Any] | None = None


FIELDS = ("original_id", "task_id", "task", "queue", "attempt_number")
"""What an event says of its job beside the `job_id`, by the names that it has in a job too."""


def subscribe(subscriber: Subscriber) -> Subscriber:
    """Call `subscriber(event)` for every event of this process; usable as a decorator."""
    _subscribers.append(subscriber)
    return subscriber


def unsubscribe(subscriber: Subscriber) -> None:
    """Stop calling `subscriber`."""
    _subscribers.remove(subscriber)


def subscribers() -> tuple[Subscriber, ...]:
    """Everybody who is told, in order."""
    return tuple(_subscribers)


def mask(names: frozenset[str]) -> None:
    """Mask what stands under these keys (in lower case) in the tags of all events of this process from now on."""
    global _masked
    _masked |= names


def emit(kind: Kind, job: Any = None, **details: Any) -> None:
    """Tell an event of `job` (anything with the fields of a job), or of the fields in `details` alone."""
    if not _subscribers:
        return
    known = {name: getattr(job, name, None) for name in FIELDS} if job is not None else {}
    known["job_id"] = details.pop("job_id", None) or getattr(job, "id", None)
    for name in FIELDS:
        if name in details:
            known[name] = details.pop(name)
    event = Event(kind, details=details, tags=redact(getattr(job, "tags", None), _masked), **known)
    for subscriber in subscribers():
        _tell(subscriber, event)


def _tell(subscriber: Subscriber, event: Event) -> None:
    try:
        subscriber(event)
    except Exception:
        name = getattr(subscriber, "__qualname__", repr(subscriber))
        logging.getLogger("celery_jobs").exception("the subscriber %s failed at %s", name, event.kind)
