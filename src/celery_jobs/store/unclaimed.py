"""Why a claim was lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, select

from celery_jobs.states import Status
from celery_jobs.store.db import now, seconds_until
from celery_jobs.store.new_rows import is_paused
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["Unclaimed", "why_lost"]


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Why a claim was lost. `wait`: seconds until the job is due, where it came too early."""

    reason: str
    wait: float = 0

    GONE = "gone"
    OURS = "ours"
    """Claimed with this very token before: by a pool process that has died, and whose request was put back."""
    TAKEN = "taken"
    EARLY = "early"
    EXPIRED = "expired"
    PAUSED = "paused"
    LIMITED = "limited"
    """There are limits to be judged."""
    REPLACED = "replaced"
    """What the message brings was replaced: it is of an older edition."""
    WAITING = "waiting"
    """It waits for a limit from now on, unsent."""


def why_lost(job_id: str, lease_token: str, edition: int, connection: Connection) -> Unclaimed:
    """Why a claim was lost, as the row says now. `edition`: of the message."""
    return Unclaimed(*_reason(job_id, lease_token, edition, connection))


def _reason(job_id: str, lease_token: str, edition: int, connection: Connection) -> tuple[str, float]:
    row = connection.execute(
        select(
            jobs.c.status,
            jobs.c.lease_token,
            jobs.c.edition,
            seconds_until(jobs.c.scheduled_at).label("wait"),
            and_(jobs.c.expires_at.is_not(None), jobs.c.expires_at <= now()).label("expired"),
            jobs.c.cancel_requested_at.is_not(None).label("stopped"),
            is_paused(jobs.c.queue).label("paused"),
            jobs.c.concurrency_key,
        ).where(jobs.c.id == job_id)
    ).first()
    if row is None:
        return Unclaimed.GONE, 0
    if row.status == Status.PROCESSING and row.lease_token == lease_token:
        return Unclaimed.OURS, 0
    if row.edition != edition:
        return Unclaimed.REPLACED, 0
    if row.status != Status.PENDING or row.stopped:
        return Unclaimed.TAKEN, 0
    if row.expired:
        return Unclaimed.EXPIRED, 0
    if row.paused:
        return Unclaimed.PAUSED, 0
    if row.wait <= 0 and row.concurrency_key is not None:
        return Unclaimed.LIMITED, 0
    # Due between the two statements: too early by nothing, to be tried again.
    return Unclaimed.EARLY, max(0.0, row.wait)
