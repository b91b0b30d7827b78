"""After an enqueue: what it made is told, and a job that it replaced is sent as it is now (semantics.md section 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.sending import sender_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, NewJob

__all__ = ["send_replaced", "tell_enqueued"]


def tell_enqueued(new: NewJob, enqueued: Enqueued) -> None:
    """Tell that a job was made, or that one which waited is now what was enqueued; of one that stays nothing."""
    if enqueued.replaced:
        ids = {"job_id": enqueued.job_id, "original_id": enqueued.job_id, "task_id": enqueued.task_id}
        emit(Kind.REPLACED, new, attempt_number=1, **ids)
    elif not enqueued.deduplicated:
        emit(Kind.ENQUEUED, new, attempt_number=1)


def send_replaced(plugin: Plugin, made: Sequence[Enqueued]) -> None:
    """Send those of them that were replaced and are due soon: as they are stored, under their own ids."""
    if ids := [enqueued.job_id for enqueued in made if enqueued.replaced and enqueued.sent_at is not None]:
        sender_of(plugin).send_stored(ids)
