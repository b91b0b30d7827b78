"""What has happened to runs, as their rows say it (semantics.md sections 1 and 2): the items of `Jobs.events`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from celery_jobs.events import Kind
from celery_jobs.moments import microseconds, plain
from celery_jobs.redaction import redact_text
from celery_jobs.states import FinalStatus
from celery_jobs.store.callbacks import FAILED, SENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from celery_jobs.store.following import Chain, Replay, Step
    from celery_jobs.store.news import News

__all__ = ["DETAILS", "Entry", "RunEvent", "as_deleted", "as_event", "happened"]

DETAILS: dict[Kind, tuple[str, ...]] = {
    Kind.ENQUEUED: ("scheduled_at", "replay_of"),
    Kind.REPLACED: ("edition", "scheduled_at"),
    Kind.STARTED: ("losses",),
    Kind.RETRIED: ("next_job_id", "scheduled_at", "reason", "error", "duration_ms"),
    Kind.COMPLETED: ("final_status", "duration_ms"),
    Kind.DEAD_LETTERED: ("final_status", "reason", "error", "duration_ms"),
    Kind.FAILED_NO_RETRIES: ("final_status", "reason", "error", "duration_ms"),
    Kind.CANCEL_REQUESTED: (),
    Kind.CANCELLED: ("final_status", "reason", "error", "duration_ms"),
    Kind.CALLBACK_SENT: ("status", "duration_ms"),
    Kind.CALLBACK_FAILED: ("status", "error", "tries", "duration_ms"),
    Kind.REPLAYED: ("reason",),
    Kind.PURGED: (),
    Kind.DELETED: (),
}
"""What an event of a run has beside its job, by kind: `scheduled_at` a moment; `edition`, `losses`, `duration_ms`,
`status` (of HTTP) and `tries` numbers; the others texts; None where there is none.

`error` is masked as `jobs_redact` says.
"""

ENDS = {
    FinalStatus.SUCCESS: Kind.COMPLETED,
    FinalStatus.DEAD_LETTERED: Kind.DEAD_LETTERED,
    FinalStatus.FAILED_NO_RETRIES: Kind.FAILED_NO_RETRIES,
    FinalStatus.CANCELLED: Kind.CANCELLED,
}
"""What the end of a chain is called, by its verdict."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened to a run. `at`: by the database's clock; `details`: what DETAILS lists for its kind.

    `job_id`: of the attempt; of a replay the new job's. `cursor`: give it as `since` to go on behind this event.
    """

    kind: Kind
    at: datetime
    job_id: str
    original_id: str
    task_id: str
    attempt_number: int
    queue: str
    task: str | None
    details: Mapping[str, Any] = field(default_factory=dict)
    cursor: str = ""

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form: the kind as text, times as ISO 8601 in UTC ending in Z."""
        values = {f.name: plain(getattr(self, f.name)) for f in fields(self)}
        details = {name: plain(value) for name, value in self.details.items()}
        return {**values, "kind": str(self.kind), "details": details}


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, and what tells it from all others of its run.

    `place`: its place in the chain's own course, which only goes on; None for what comes beside it: the outcome of a
    callback, a replay. Of those `name` is unique.
    """

    event: RunEvent
    place: tuple[int, int, int] | None = None
    name: str = ""


MADE, STARTED, ASKED, ENDED = range(4)
"""The order of what happens to one attempt."""


def happened(chain: Chain, names: frozenset[str]) -> list[Entry]:
    """All that has happened to a chain, in order; `names`: what to mask.

    The chain's own course is in its own order, whatever the clock says; what comes beside it is put in by its time.
    """
    course = [entry for step in chain.steps for entry in _course(step, chain, names)]
    beside = [entry for step in chain.steps if (entry := _callback(step, names)) is not None]
    beside += [_replay(replay, chain, names) for replay in chain.replays]
    for entry in sorted(beside, key=lambda entry: entry.event.at):
        later = (place for place, other in enumerate(course) if other.event.at > entry.event.at)
        course.insert(next(later, len(course)), entry)
    return course


def _course(step: Step, chain: Chain, names: frozenset[str]) -> Iterator[Entry]:
    number = step.attempt_number
    if number == 1:
        made = {"scheduled_at": step.scheduled_at, "replay_of": step.replay_of}
        yield Entry(_event(Kind.ENQUEUED, step.created_at, step, made), (1, MADE, 0))
    if step.replaced_at is not None:
        told = {"edition": step.edition, "scheduled_at": step.scheduled_at}
        yield Entry(_event(Kind.REPLACED, step.replaced_at, step, told), (1, MADE, step.edition))
    if step.started_at is not None:
        # Of an attempt that was given back or lost, and begins anew, the time is another.
        place = (number, STARTED, microseconds(step.started_at))
        yield Entry(_event(Kind.STARTED, step.started_at, step, {"losses": step.losses}), place)
        if step.cancel_requested_at is not None and _is_before(step.cancel_requested_at, step):
            yield Entry(_event(Kind.CANCEL_REQUESTED, step.cancel_requested_at, step, {}), (number, ASKED, 0))
    if step.finished_at is not None:
        yield Entry(_end(step, chain, names), (number, ENDED, 0))


def _is_before(asked_at: datetime, step: Step) -> bool:
    """Whether it was asked to stop while it ran: an original is asked in the name of its retries too."""
    return step.finished_at is None or asked_at < step.finished_at


def _end(step: Step, chain: Chain, names: frozenset[str]) -> RunEvent:
    assert step.finished_at is not None
    following = next((other for other in chain.steps if other.attempt_number == step.attempt_number + 1), None)
    if following is not None:
        told = {"next_job_id": following.id, "scheduled_at": following.scheduled_at, **_failure(step, names)}
        return _event(Kind.RETRIED, step.finished_at, step, told)
    return _verdict(chain.steps[0].final_status, step.finished_at, step, _failure(step, names))


def _verdict(final_status: str | None, at: datetime, step: Step, failure: dict[str, Any]) -> RunEvent:
    kind = ENDS[FinalStatus(str(final_status))]
    told = {"final_status": final_status, **failure}
    return _event(kind, at, step, {name: told[name] for name in DETAILS[kind]})


def _failure(step: Step, names: frozenset[str]) -> dict[str, Any]:
    error = _said(step.error_type, step.error_message, names)
    return {"reason": step.failure_reason, "error": error, "duration_ms": step.duration_ms}


def _said(error_type: str | None, message: str | None, names: frozenset[str]) -> str | None:
    said = ": ".join(part for part in (error_type, message) if part)
    return redact_text(said, names) if said else None


def _callback(step: Step, names: frozenset[str]) -> Entry | None:
    if step.callback_state not in (SENT, FAILED) or step.callback_at is None:
        return None
    told: dict[str, Any] = {"status": step.callback_status, "duration_ms": step.callback_duration_ms}
    kind = Kind.CALLBACK_SENT
    if step.callback_state == FAILED:
        kind = Kind.CALLBACK_FAILED
        told |= {"error": redact_text(step.callback_error or "", names) or None, "tries": step.callback_tries}
    name = f"{step.attempt_number}c{microseconds(step.callback_at)}"
    return Entry(_event(kind, step.callback_at, step, told), name=name)


def _replay(replay: Replay, chain: Chain, names: frozenset[str]) -> Entry:
    reason = None if replay.replay_reason is None else redact_text(replay.replay_reason, names)
    (made, task_id, task, queue), original = (replay.id, replay.task_id, replay.task, replay.queue), chain.steps[0].id
    event = RunEvent(Kind.REPLAYED, replay.created_at, made, original, task_id, 1, queue, task, {"reason": reason})
    return Entry(event, name=replay.id.replace("-", ""))


def _event(kind: Kind, at: datetime, step: Step, details: dict[str, Any]) -> RunEvent:
    of_job = (step.id, step.original_id, step.task_id, step.attempt_number, step.queue, step.task)
    return RunEvent(kind, at, *of_job, details)


def as_deleted(chain: Chain, at: datetime) -> RunEvent:
    """The event of a chain whose rows are gone: a dead letter is purged, anything else deleted."""
    is_dead = chain.steps[0].final_status == FinalStatus.DEAD_LETTERED
    return _event(Kind.PURGED if is_dead else Kind.DELETED, at, chain.steps[-1], {})


def as_event(news: News, names: frozenset[str]) -> RunEvent:
    """The event of a run that was enqueued or has ended; it is the original's, with the number of its attempts."""
    original = news.original
    if not news.has_ended:
        told = {"scheduled_at": original.scheduled_at, "replay_of": original.replay_of}
        return _event(Kind.ENQUEUED, news.at, original, told)
    failure = _failure(original, names)
    if original.final_status != FinalStatus.SUCCESS and news.last_error_type is not None:
        failure["error"] = _said(news.last_error_type, news.last_error_message, names)
    event = _verdict(original.final_status, news.at, original, failure)
    return replace(event, attempt_number=news.attempt_number)
