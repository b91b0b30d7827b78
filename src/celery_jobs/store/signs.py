"""What tells, within another statement, whether there is anything for a service to do: one EXISTS for each.

A sign may be there in vain, never be missing: the service looks for itself where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, or_

from celery_jobs.store.db import now
from celery_jobs.store.sends import waiting
from celery_jobs.store.tables import jobs, workers
from celery_jobs.store.workers import lease_has_run_out

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["lost", "to_repair", "unsent"]


def unsent() -> ColumnElement[bool]:
    """Some job is held in SQL."""
    return exists().where(jobs.c.sent_at.is_(None), jobs.c.finished_at.is_(None))


def to_repair(after: float) -> ColumnElement[bool]:
    """Some job has expired, or was sent `after` seconds ago and not claimed, or its end is not told to Celery."""
    unclaimed = and_(jobs.c.sent_at < now(-after), jobs.c.scheduled_at < now(-after))
    return or_(
        exists().where(waiting, or_(jobs.c.expires_at <= now(), unclaimed)),
        exists().where(jobs.c.untold_at.is_not(None)),
    )


def lost(silence: float) -> ColumnElement[bool]:
    """Some worker is silent for `silence` seconds, or dead with its row still there, or some lease has run out."""
    return or_(
        exists().where(or_(workers.c.dead_at.is_not(None), workers.c.heartbeat_at < now(-silence))),
        exists().where(*lease_has_run_out()),
    )
