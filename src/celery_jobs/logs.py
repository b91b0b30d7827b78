"""The words of the log: one wording for each event, the job's fields as attributes of the record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery_jobs.events import FIELDS, Kind

if TYPE_CHECKING:
    from celery_jobs.events import Event

__all__ = ["log"]

logger = logging.getLogger("celery_jobs")

_WORDINGS: dict[Kind, tuple[int, str]] = {
    Kind.ENQUEUED: (logging.DEBUG, "job %(job_id)s enqueued on %(queue)s"),
    Kind.ADOPTED: (logging.INFO, "job %(job_id)s is made of a message without a row (%(task)s)"),
    Kind.REPLAYED: (logging.INFO, "job %(original_id)s is replayed as %(job_id)s"),
    Kind.REPLACED: (logging.DEBUG, "job %(job_id)s waited and is replaced by a later enqueue of its key"),
    Kind.PROMOTED: (logging.DEBUG, "job %(job_id)s is due soon and sent to %(queue)s"),
    Kind.FIRED: (logging.INFO, "job %(job_id)s is made due now"),
    Kind.STARTED: (logging.DEBUG, "job %(job_id)s started"),
    Kind.COMPLETED: (logging.DEBUG, "job %(job_id)s completed"),
    Kind.RETRIED: (
        logging.INFO,
        "job %(job_id)s failed at attempt %(attempt_number)s, retry %(next_job_id)s is due at %(scheduled_at)s",
    ),
    Kind.DEAD_LETTERED: (
        logging.ERROR,
        "job %(original_id)s (%(task)s) is dead-lettered after attempt %(attempt_number)s: %(error)s",
    ),
    Kind.FAILED_NO_RETRIES: (
        logging.ERROR,
        "job %(original_id)s (%(task)s) failed, without retries: %(error)s",
    ),
    Kind.CANCEL_REQUESTED: (logging.INFO, "job %(job_id)s runs and is asked to stop"),
    Kind.CANCELLED: (logging.INFO, "job %(original_id)s is cancelled"),
    Kind.RELEASED: (logging.INFO, "job %(job_id)s is given back, nothing burnt"),
    Kind.LOST: (logging.WARNING, "job %(job_id)s lost its worker and is pending again"),
    Kind.FENCED: (logging.WARNING, "job %(job_id)s lost its lease; the outcome of this attempt is dropped"),
    Kind.REFUSED: (logging.ERROR, "job %(job_id)s cannot be run here (%(reason)s): %(error)s"),
    Kind.DROPPED: (logging.INFO, "a message of job %(job_id)s was dropped: %(reason)s"),
    Kind.GONE: (
        logging.WARNING,
        "job %(job_id)s is not in %(database)s: was it purged, or do producer and worker use different databases?",
    ),
    Kind.UNSENT: (
        logging.WARNING,
        "job %(job_id)s is stored but could not be sent: %(error)s; it is sent later",
    ),
    Kind.SENT_AGAIN: (logging.WARNING, "job %(job_id)s was sent again: nobody had claimed it"),
    Kind.UNTOLD: (logging.WARNING, "the end of job %(original_id)s could not be told to Celery yet: %(error)s"),
    Kind.CALLBACK_SENT: (
        logging.DEBUG,
        "the callback of job %(job_id)s was answered with %(status)s after %(duration_ms)s ms",
    ),
    Kind.CALLBACK_FAILED: (logging.WARNING, "the callback of job %(job_id)s failed at try %(tries)s: %(error)s"),
    Kind.PURGED: (logging.INFO, "job %(original_id)s is purged from the dead-letter queue"),
    Kind.DELETED: (logging.INFO, "job %(original_id)s is deleted"),
    Kind.ERASED: (logging.INFO, "what job %(original_id)s was called with and what came of it is erased"),
    Kind.KEY_RELEASED: (logging.INFO, "the idempotency key of job %(original_id)s is released"),
    Kind.QUEUE_PAUSED: (logging.WARNING, "the queue %(queue)s is paused (until %(until)s, by %(by)s: %(reason)s)"),
    Kind.QUEUE_RESUMED: (logging.WARNING, "the queue %(queue)s goes on (jobs sent: %(sent)s)"),
    Kind.SCHEDULE_SET: (logging.INFO, "the schedule %(schedule)s is set (new: %(created)s)"),
    Kind.SCHEDULE_PAUSED: (logging.WARNING, "the schedule %(schedule)s is paused (by %(by)s: %(reason)s)"),
    Kind.SCHEDULE_RESUMED: (logging.WARNING, "the schedule %(schedule)s goes on"),
    Kind.SCHEDULE_REMOVED: (logging.WARNING, "the schedule %(schedule)s is removed"),
    Kind.SCHEDULE_RAN: (logging.INFO, "the schedule %(schedule)s is run by hand: job %(job_id)s"),
    Kind.SCHEDULE_FAILED: (logging.ERROR, "the schedule %(schedule)s could not tick: %(error)s"),
    Kind.TICKED: (logging.INFO, "the schedule %(schedule)s ticks: job %(job_id)s"),
    Kind.TICK_SKIPPED: (logging.INFO, "a tick of %(schedule)s (%(task)s) makes no job: %(reason)s"),
    Kind.ALERT_SENT: (logging.INFO, "an alert of the queue %(queue)s was sent (dead letters: %(dead_letters)s)"),
    Kind.ALERT_FAILED: (
        logging.WARNING,
        "an alert of the queue %(queue)s failed (dead letters: %(dead_letters)s): %(error)s",
    ),
    Kind.WORKER_STARTED: (logging.INFO, "jobs are recorded in %(database)s"),
    Kind.WORKER_DEAD: (logging.WARNING, "worker %(worker)s is silent and declared dead"),
    Kind.SERVICE_RAN: (logging.DEBUG, "the service %(service)s handled %(handled)s"),
    Kind.SERVICE_FAILED: (logging.ERROR, "the service %(service)s failed: %(error)s"),
    Kind.STORE_UNAVAILABLE: (logging.WARNING, "waiting for the jobs database: %(error)s"),
}


def log(event: Event) -> None:
    """Log an event: its words, and its job's fields as attributes of the record (`job_id`, `queue` …)."""
    level, wording = _WORDINGS[event.kind]
    if not logger.isEnabledFor(level):
        return
    fields = {name: getattr(event, name) for name in _FIELDS}
    said = {name: _in_a_line(value) for name, value in {**fields, **event.details}.items()}
    logger.log(level, wording, said, extra={"event": str(event.kind), **fields})


def _in_a_line(value: Any) -> Any:
    """A text of somebody's with its line ends and control characters escaped: it can begin no record of its own."""
    return value if not isinstance(value, str) or value.isprintable() else repr(value)[1:-1]


_FIELDS = ("job_id", *FIELDS)
