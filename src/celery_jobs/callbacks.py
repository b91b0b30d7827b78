"""The callbacks that a chain owes, one for each attempt that has ended (semantics.md section 8). Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from celery_jobs.states import FAILED_VERDICTS, FinalStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from celery_jobs.store.rows import Job

__all__ = ["Callback", "due_callbacks"]


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
