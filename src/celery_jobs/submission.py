"""What one call of `send_task` asks for, on its way to the seam; and what the seam made of it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery_jobs.options import JobOptions

if TYPE_CHECKING:
    from celery_jobs.store.rows import Enqueued

__all__ = ["Submission", "submission_here", "tell_result"]


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
        """Make an AsyncResult that of the job."""
        self.result = result
        if self.enqueued is not None:
            tell_result(result, self.enqueued)


def tell_result(result: Any, enqueued: Enqueued) -> None:
    """Make an AsyncResult that of a job, with `job_id` and `deduplicated` on it."""
    if str(result.id) != enqueued.task_id:  # a caller's UUID stays one: Celery stores the result under it
        result.id = enqueued.task_id
    result.job_id = enqueued.job_id
    result.deduplicated = enqueued.deduplicated
    result.payload_mismatch = enqueued.payload_mismatch
    result.replaced = enqueued.replaced


submission_here: ContextVar[Submission | None] = ContextVar("celery_jobs_submission", default=None)
"""The call that is on its way; None where Celery publishes by itself, as it does the next step of a chain."""
