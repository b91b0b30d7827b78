"""The words of the log: one wording for each event, the job's fields as attributes of the record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_jobs.events import Event

__all__ = ["log"]

logger = logging.getLogger("celery_jobs")

_WORDINGS = {
    "job.started": (logging.DEBUG, "job %(job_id)s started"),
    "job.completed": (logging.DEBUG, "job %(job_id)s completed"),
    "job.enqueued": (logging.DEBUG, "job %(job_id)s enqueued on %(queue)s"),
    "job.unsent": (
        logging.WARNING,
        "job %(job_id)s is stored but the broker did not take it; it is sent later",
    ),
    "job.retried": (
        logging.INFO,
        "job %(job_id)s failed at attempt %(attempt_number)s, retry %(next_job_id)s is due at %(scheduled_at)s",
    ),
    "job.dead_lettered": (
        logging.ERROR,
        "job %(original_id)s (%(task)s) is dead-lettered after %(attempt_number)s attempts: %(error)s",
    ),
    "job.failed_no_retries": (
        logging.ERROR,
        "job %(original_id)s (%(task)s) failed, without retries: %(error)s",
    ),
    "job.cancelled": (logging.INFO, "job %(original_id)s is cancelled"),
    "job.dropped": (logging.INFO, "a message of job %(job_id)s was dropped: %(reason)s"),
    "job.gone": (
        logging.WARNING,
        "job %(job_id)s is not in %(database)s: was it purged, or do producer and worker use different databases?",
    ),
    "worker.started": (logging.INFO, "jobs are recorded in %(database)s"),
    "job.fenced": (logging.WARNING, "job %(job_id)s lost its lease; the outcome of this attempt is dropped"),
    "job.released": (logging.INFO, "job %(job_id)s is given back, nothing burnt"),
    "job.lost": (logging.WARNING, "job %(job_id)s lost its worker and is pending again"),
    "job.refused": (logging.ERROR, "job %(job_id)s cannot be run here (%(reason)s): %(error)s"),
    "job.sent_again": (logging.WARNING, "job %(job_id)s was sent again: nobody had claimed it"),
    "job.replayed": (logging.INFO, "job %(original_id)s is replayed as %(job_id)s"),
    "worker.dead": (logging.WARNING, "worker %(worker)s is silent and declared dead"),
    "store.unavailable": (logging.WARNING, "waiting for the jobs database: %(error)s"),
    "service.failed": (logging.ERROR, "the service %(service)s failed: %(error)s"),
}


def log(event: Event) -> None:
    """Log an event, if it has a wording."""
    level, wording = _WORDINGS.get(event.kind, (logging.NOTSET, ""))
    if not wording or not logger.isEnabledFor(level):
        return
    fields = {
        "job_id": event.job_id,
        "original_id": event.original_id,
        "task_id": event.task_id,
        "task": event.task,
        "queue": event.queue,
        "attempt_number": event.attempt_number,
    }
    words = {**fields, **event.details}
    logger.log(level, wording, words, extra={"event": event.kind, **{f"job_{k}": v for k, v in fields.items()}})
