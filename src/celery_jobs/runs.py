"""A run: a chain seen as one thing, for people and programs (semantics.md section 1)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from celery_jobs.answers import masked_response, response_json
from celery_jobs.moments import plain
from celery_jobs.redaction import redact, redact_json, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from celery_jobs.store.rows import Job, Response

__all__ = ["MARKS", "EnqueueOutcome", "Page", "Run", "job_json", "make_run", "masked"]


@dataclass(frozen=True, slots=True)
class Run:
    """Status, result and error of a chain's latest attempt, `final_status` of its original, all attempts.

    `id`: the original's; `attempt_number`: attempts so far; `duration_ms`: milliseconds of the latest attempt.
    """

    id: str
    task_id: str
    task: str | None
    queue: str
    status: str
    final_status: str | None
    attempt_number: int
    max_attempts: int
    priority: int
    tags: list[str] | dict[str, Any] | None
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    ended_at: datetime | None
    dead_lettered_at: datetime | None
    alerted_at: datetime | None
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    duration_ms: int | None
    result: Any
    response_status: int | None
    response: Response | None
    failure_reason: str | None
    error_type: str | None
    error_message: str | None
    traceback: str | None
    has_pending_retry: bool
    losses: int
    idempotency_key: str | None
    key_expires_at: datetime | None
    concurrency_key: str | None
    waits_for: str | None
    callback_url: str | None
    replay_of: str | None
    replay_reason: str | None
    replayed_at: datetime | None
    replayed_as: str | None
    replaced_by: str | None
    resolved_by: str | None
    erased_at: datetime | None
    attempts: tuple[Job, ...]
    deduplicated: bool = False
    """As the answer of an enqueue: the job was there already."""
    payload_mismatch: bool = False
    """As the answer of an enqueue: the job that was there has other arguments."""
    replaced: bool = False
    """As the answer of an enqueue: the job that was there waited, and is now what was enqueued."""

    @property
    def has_ended(self) -> bool:
        """Whether the chain has its verdict."""
        return self.ended_at is not None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form: times as ISO 8601 in UTC ending in Z, attempts in order."""
        return {**_plain_fields(self), "attempts": [job_json(job) for job in self.attempts]}


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first. `cursor`: give it to `list` for the next page; None: this is the last.

    `partial`: fewer than were asked for, or none, as 20,000 jobs were looked at; there may be more behind the cursor.
    """

    runs: tuple[Run, ...]
    cursor: str | None = None
    partial: bool = False

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {"runs": [run.to_json() for run in self.runs], "cursor": self.cursor, "partial": self.partial}

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class EnqueueOutcome:
    """What became of one item of `enqueue_many`: the job that was made or found, or the error that kept it out.

    `index`: the item's place in the call, from 0.
    """

    index: int
    job_id: str | None = None
    task_id: str | None = None
    deduplicated: bool = False
    payload_mismatch: bool = False
    replaced: bool = False
    error: Exception | None = None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form; `field`: the option at fault, where one is."""
        error: dict[str, Any] | None = None
        if self.error is not None:
            field = getattr(self.error, "field", None)
            error = {"type": type(self.error).__name__, "message": str(self.error), "field": field}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "error"}
        return {**values, "error": error}


MARKS = ("deduplicated", "payload_mismatch", "replaced")
"""What the answer of an enqueue says of the job that it gives."""

_MADE = ("result", "attempts", *MARKS)
"""Fields of a run that no column has as it is."""

_OF_THE_LATEST = frozenset(
    [
        "queue",
        "status",
        "attempt_number",
        "scheduled_at",
        "started_at",
        "finished_at",
        "duration_ms",
        "response_status",
        "response",
        "failure_reason",
        "error_type",
        "error_message",
        "traceback",
        "losses",
        "waits_for",
        "replaced_by",
    ]
)
"""Fields of a run that its latest attempt says; the original says the others."""


def make_run(attempts: Sequence[Job]) -> Run:
    """One run of a chain's attempts, in order."""
    original, last = attempts[0], attempts[-1]
    names = (f.name for f in fields(Run) if f.name not in _MADE)
    values = {name: getattr(last if name in _OF_THE_LATEST else original, name) for name in names}
    result = None if last.result is None else json.loads(last.result)
    return Run(**values, result=result, attempts=tuple(attempts))


def masked(job: Job, names: frozenset[str]) -> Job:
    """One attempt as it may be shown: what `jobs_redact` names masked in its result, tags and texts."""
    texts: dict[str, Any] = {
        name: redact_text(text, names) for name in _TEXTS if (text := getattr(job, name)) is not None
    }
    response = masked_response(job.response, names)
    return replace(job, result=redact_json(job.result, names), tags=redact(job.tags, names), response=response, **texts)


_TEXTS = ("error_message", "traceback", "last_error_message", "replay_reason", "callback_url", "callback_error")

_INSIDE = frozenset({"lease_token", "lease_expires_at", "nesting", "reuse", "untold_at"})
"""Columns that only the plugin itself has a use for."""


def job_json(job: Job) -> dict[str, Any]:
    """One attempt in its documented JSON form."""
    return {**_plain_fields(job), "result": None if job.result is None else json.loads(job.result)}


def _plain_fields(value: Job | Run) -> dict[str, Any]:
    """Its fields in their order, the response in parts."""
    found: dict[str, Any] = {}
    for name in (f.name for f in fields(value) if f.name not in _INSIDE):
        found |= response_json(value.response) if name == "response" else {name: plain(getattr(value, name))}
    return found
