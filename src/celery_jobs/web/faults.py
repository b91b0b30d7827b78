"""Which status of HTTP an error of ours is (RFC 9110, section 15)."""

from __future__ import annotations

from celery_jobs.audit_log import ActNotFound
from celery_jobs.errors import (
    AmbiguousId,
    JobNotFound,
    JobsError,
    KeyNotFound,
    NotInstalled,
    PayloadTooLarge,
    ResultsUnavailable,
    ScheduleNotFound,
    SchemaOutdated,
    StoreUnavailable,
    UnknownQueue,
    WaitTimeout,
)
from celery_jobs.tokens import InvalidToken, TokenNotFound

__all__ = ["status_of"]

_UNKNOWN = (ActNotFound, AmbiguousId, JobNotFound, KeyNotFound, ScheduleNotFound, TokenNotFound, UnknownQueue)

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (PayloadTooLarge, 413),
    (StoreUnavailable, 503),
    (ResultsUnavailable, 503),
    (SchemaOutdated, 503),
    (NotInstalled, 503),
    (WaitTimeout, 503),
    (InvalidToken, 401),
    *((kind, 404) for kind in _UNKNOWN),
    (ValueError, 422),
    (JobsError, 409),
)
"""The first that fits: of JobsError what is left is a conflict with the state of things."""


def status_of(error: Exception) -> int:
    """The status that tells of an error; 500 for what is none of ours."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
