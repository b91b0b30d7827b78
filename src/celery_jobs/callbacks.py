"""The callbacks that a chain owes, one for each attempt that has ended (semantics.md section 8). Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import JobNotEnded, NoCallback
from celery_jobs.ids import parse_id
from celery_jobs.states import FAILED_VERDICTS, FinalStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from celery_jobs.store.rows import Job

__all__ = ["Callback", "due_callbacks", "ended_attempt"]


@dataclass(frozen=True, slots=True)
class Callback:
    """One POST of `body`, as JSON, to `url`. `attempt_id`: the attempt whose end it tells; `at`: when that was."""

    url: str
    body: dict[str, Any]
    attempt_id: str = field(compare=False)
    at: datetime = field(compare=False)


def due_callbacks(attempts: Sequence[Job]) -> list[Callback]:
    """The callbacks of a chain, given all its attempts in order (semantics.md section 8).

    They say what was so at the end of each attempt, whatever has become of its chain since.
    """
    return [
        Callback(job.callback_url, _body(attempts, job), job.id, job.finished_at)
        for job in attempts
        if job.callback_url is not None and job.finished_at is not None
    ]


def _body(attempts: Sequence[Job], job: Job) -> dict[str, Any]:
    """The documented eight fields in their order, then ours."""
    status = _status(attempts, job)
    return {
        "type": "job_execution",
        "job_id": job.original_id if status in FAILED_VERDICTS else job.id,
        "status": str(status),
        "response_status": job.response_status,
        "duration_ms": job.duration_ms,
        "error_message": job.error_message,
        "attempt_number": job.attempt_number,
        "completed_at": None if job.finished_at is None else _moment(job.finished_at),
        "original_job_id": job.original_id,
        "queue": job.queue,
        "task": job.task,
    }


def _status(attempts: Sequence[Job], job: Job) -> FinalStatus:
    """The final status of an attempt at its end; of the failure that ends its chain, the chain's verdict."""
    original, last = attempts[0], attempts[-1]
    if job.id != last.id:
        return FinalStatus.RETRYING if job.id == original.id else FinalStatus.FAILED_WITH_RETRIES
    if original.final_status in FAILED_VERDICTS:
        return FinalStatus(original.final_status)
    return FinalStatus(job.final_status or FinalStatus.FAILED_WITH_RETRIES)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended_attempt(attempts: Sequence[Job], id: str, number: int | None = None) -> Job:
    """The attempt of a chain whose callback is meant: that of the number, the retry of the id, else the latest to end.

    Raises NoCallback, JobNotEnded, and ValueError for a number that no attempt has.
    """
    if attempts[0].callback_url is None:
        raise NoCallback(f"the job {attempts[0].id} has no callback_url")
    named = [job for job in attempts if job.attempt_number == number or (number is None and _is_retry(job, id))]
    if number is not None and not named:
        raise ValueError(f"attempt: a number from 1 to {len(attempts)} is expected, not {number!r}")
    ended = [job for job in named or attempts if job.finished_at is not None]
    if not ended:
        what = f"attempt {named[0].attempt_number} of {attempts[0].id}" if named else f"the job {attempts[0].id}"
        raise JobNotEnded(f"{what} has not ended; its callback is sent when it does")
    return ended[-1]


def _is_retry(job: Job, id: str) -> bool:
    """The id of an original means its run."""
    return job.is_retry and job.id == parse_id(id)
