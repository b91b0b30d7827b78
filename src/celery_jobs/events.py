"""What happens to jobs, told to whoever subscribes. Listeners never decide, and a failing one breaks nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "emit", "subscribe", "subscribers", "unsubscribe"]

Subscriber = Callable[["Event"], object]

_subscribers: list[Subscriber] = []


@dataclass(frozen=True, slots=True)
class Event:
    """One transition of a job. `kind`: job.enqueued, job.started, job.completed, job.retried, job.dead_lettered …

    Fields that are not known where it happens are None; `details` holds what only this kind has.
    """

    kind: str
    job_id: str | None = None
    original_id: str | None = None
    task_id: str | None = None
    task: str | None = None
    queue: str | None = None
    attempt_number: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


_FIELDS = ("original_id", "task_id", "task", "queue", "attempt_number")


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


def emit(kind: str, job: Any = None, **details: Any) -> None:
    """Tell an event of `job` (anything with the fields of a job), or of the fields in `details` alone."""
    known = {name: getattr(job, name, None) for name in _FIELDS} if job is not None else {}
    known["job_id"] = details.pop("job_id", None) or getattr(job, "id", None)
    for name in _FIELDS:
        if name in details:
            known[name] = details.pop(name)
    event = Event(kind, details=details, **known)
    for subscriber in subscribers():
        _tell(subscriber, event)


def _tell(subscriber: Subscriber, event: Event) -> None:
    try:
        subscriber(event)
    except Exception:
        name = getattr(subscriber, "__qualname__", repr(subscriber))
        logging.getLogger("celery_jobs").exception("the subscriber %s failed at %s", name, event.kind)
