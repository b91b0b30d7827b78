"""celery-jobs: the job layer for Celery.

    app = Celery("shop")
    celery_jobs.install(app)

From then on each attempt of a task is a row in a SQL table; see README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_jobs.app import install
    from celery_jobs.arguments import Arguments
    from celery_jobs.audit import Act, Actor, AuditedJobs
    from celery_jobs.bulk import BulkResult, Progress
    from celery_jobs.doctor import Finding
    from celery_jobs.errors import (
        AlreadyReplayed,
        AmbiguousId,
        ArgumentsDoNotFit,
        BlockedAddress,
        Cancelled,
        DuplicateJob,
        HttpBusy,
        HttpFailed,
        HttpGone,
        InvalidJob,
        InvalidSettings,
        InvalidSignature,
        InvalidUrl,
        JobDeadLettered,
        JobEnded,
        JobErased,
        JobNotEnded,
        JobNotFound,
        JobNotHeld,
        JobRunning,
        JobsError,
        JobUntold,
        KeyNotFound,
        NoCallback,
        NoRetry,
        NotDeadLettered,
        NotInstalled,
        PayloadNotSerializable,
        PayloadTooLarge,
        ResultsUnavailable,
        RetryAfter,
        ScheduleNotFound,
        SchemaOutdated,
        StoreUnavailable,
        UnknownQueue,
        WaitTimeout,
    )
    from celery_jobs.events import Event, subscribe, unsubscribe
    from celery_jobs.jobs import Jobs
    from celery_jobs.policy import Custom, Exponential, Fixed, Policy
    from celery_jobs.run_events import RunEvent
    from celery_jobs.runs import EnqueueOutcome, Page, Run
    from celery_jobs.signing import verify_callback
    from celery_jobs.store.filters import Filter
    from celery_jobs.store.rows import Job
    from celery_jobs.store.schedules import Schedule
    from celery_jobs.task import JobTask
    from celery_jobs.tokens import InvalidToken, TokenNotFound

__version__ = "0.1.0"

_HOMES = {
    "app": ("install",),
    "arguments": ("Arguments",),
    "audit": (
        "Act",
        "Actor",
        "AuditedJobs",
    ),
    "bulk": (
        "BulkResult",
        "Progress",
    ),
    "doctor": ("Finding",),
    "errors": (
        "AlreadyReplayed",
        "AmbiguousId",
        "ArgumentsDoNotFit",
        "BlockedAddress",
        "Cancelled",
        "DuplicateJob",
        "HttpBusy",
        "HttpFailed",
        "HttpGone",
        "InvalidJob",
        "InvalidSettings",
        "InvalidSignature",
        "InvalidUrl",
        "JobDeadLettered",
        "JobEnded",
        "JobErased",
        "JobNotEnded",
        "JobNotFound",
        "JobNotHeld",
        "JobRunning",
        "JobUntold",
        "JobsError",
        "KeyNotFound",
        "NoCallback",
        "NoRetry",
        "NotDeadLettered",
        "NotInstalled",
        "PayloadNotSerializable",
        "PayloadTooLarge",
        "ResultsUnavailable",
        "RetryAfter",
        "ScheduleNotFound",
        "SchemaOutdated",
        "StoreUnavailable",
        "UnknownQueue",
        "WaitTimeout",
    ),
    "events": (
        "Event",
        "subscribe",
        "unsubscribe",
    ),
    "jobs": ("Jobs",),
    "policy": (
        "Custom",
        "Exponential",
        "Fixed",
        "Policy",
    ),
    "run_events": ("RunEvent",),
    "runs": (
        "EnqueueOutcome",
        "Page",
        "Run",
    ),
    "signing": ("verify_callback",),
    "store.filters": ("Filter",),
    "store.rows": ("Job",),
    "store.schedules": ("Schedule",),
    "task": ("JobTask",),
    "tokens": (
        "InvalidToken",
        "TokenNotFound",
    ),
}

__all__ = [
    "Act",
    "Actor",
    "AlreadyReplayed",
    "AmbiguousId",
    "Arguments",
    "ArgumentsDoNotFit",
    "AuditedJobs",
    "BlockedAddress",
    "BulkResult",
    "Cancelled",
    "Custom",
    "DuplicateJob",
    "EnqueueOutcome",
    "Event",
    "Exponential",
    "Filter",
    "Finding",
    "Fixed",
    "HttpBusy",
    "HttpFailed",
    "HttpGone",
    "InvalidJob",
    "InvalidSettings",
    "InvalidSignature",
    "InvalidToken",
    "InvalidUrl",
    "Job",
    "JobDeadLettered",
    "JobEnded",
    "JobErased",
    "JobNotEnded",
    "JobNotFound",
    "JobNotHeld",
    "JobRunning",
    "JobTask",
    "JobUntold",
    "Jobs",
    "JobsError",
    "KeyNotFound",
    "NoCallback",
    "NoRetry",
    "NotDeadLettered",
    "NotInstalled",
    "Page",
    "PayloadNotSerializable",
    "PayloadTooLarge",
    "Policy",
    "Progress",
    "ResultsUnavailable",
    "RetryAfter",
    "Run",
    "RunEvent",
    "Schedule",
    "ScheduleNotFound",
    "SchemaOutdated",
    "StoreUnavailable",
    "TokenNotFound",
    "UnknownQueue",
    "WaitTimeout",
    "install",
    "subscribe",
    "unsubscribe",
    "verify_callback",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: SQLAlchemy is not loaded by `import celery_jobs`."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"celery_jobs.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'celery_jobs' has no attribute {name!r}")
