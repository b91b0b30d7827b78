"""What tells, within another statement, whether there is anything for a service to do: one EXISTS for each.

A sign may be there in vain, never be missing: the service looks for itself where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exists, or_, select

from celery_jobs.store.clock import asked_at
from celery_jobs.store.sends import due_queues, late_queues, waiting
from celery_jobs.store.tables import jobs, limited, workers
from celery_jobs.store.workers import leaseless

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["lost", "to_repair", "unsent"]


def unsent(ahead: float) -> ColumnElement[bool]:
    """Some job is held in SQL that is to be sent within `ahead` seconds, or waits for a limit."""
    return or_(due_queues(ahead).exists(), select(jobs.c.id).where(limited).exists())


def to_repair(after: float) -> ColumnElement[bool]:
    """Some job has expired, or was sent `after` seconds ago and not claimed, or its end is not told to Celery."""
    return or_(
        exists().where(waiting, jobs.c.expires_at <= asked_at()),
        exists().where(jobs.c.untold_at.is_not(None)),
        late_queues(after).exists(),
    )


def lost(silence: float) -> ColumnElement[bool]:
    """Some worker is silent for `silence` seconds, or dead with its row still there, or some lease has run out."""
    return or_(
        exists().where(or_(workers.c.dead_at.is_not(None), workers.c.heartbeat_at < asked_at(-silence))),
        leaseless().exists(),
    )
