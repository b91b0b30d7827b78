"""What outside workers do to jobs without a task: claim, keep, and who holds one (semantics.md section 10)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, select, update

from celery_jobs.ids import new_id
from celery_jobs.states import Status
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now, seconds_until
from celery_jobs.store.pulls import take
from celery_jobs.store.rows import Claim
from celery_jobs.store.tables import jobs, messages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.limits import Limit

__all__ = ["CLAIMED", "Standing", "claim", "keep", "leases_run_out", "standing"]

CLAIMED = (
    *("id", "original_id", "queue", "attempt_number", "max_attempts", "priority", "tags", "losses"),
    *("created_at", "scheduled_at", "started_at", "lease_expires_at"),
)
"""Columns of a job that its worker is given, beside the body of its message."""


def leases_run_out(db: Database, queue: str, limit: int) -> list[tuple[str, str]]:
    """Ids and lease tokens of a queue's jobs whose outside workers have not been heard of in time, as they are due."""
    query = select(jobs.c.id, jobs.c.lease_token).where(
        jobs.c.queue == queue,
        jobs.c.claimed_by.is_not(None),
        jobs.c.finished_at.is_(None),
        jobs.c.status == Status.PROCESSING,
        jobs.c.lease_expires_at <= asked_at(),
    )
    with db.asking() as connection:
        return [(row.id, row.lease_token) for row in connection.execute(_in_order(query).limit(limit))]


def claim(
    db: Database, queue: str, worker_id: str, limit: int, lease: float, limits: Sequence[Limit] = ()
) -> tuple[list[Row[Any]], list[Limit]]:
    """pending -> processing for at most `limit` due jobs of a queue, each for `lease` seconds; `CLAIMED`, the token,
    `body` and `content_type`.

    In the order of priority, due time and id; what another is claiming at this moment is passed over. Not more than
    the queue's `limits` have room for; what its key has no room for waits from now on, and those keys' limits are given
    too. A repetition after a lost reply finds its own claims.
    """
    token, tries = new_id(), count()
    values = {"status": Status.PROCESSING, "claimed_by": worker_id, "lease_token": token, "lease_duration": lease}
    values.update(started_at=now(), lease_expires_at=now(lease))

    def transition(connection: Connection) -> tuple[list[Row[Any]], list[Limit]]:
        found = _claimed(queue, token, connection) if next(tries) > 0 else []
        if found:
            return found, []
        full = take(connection, queue, limit, values, limits)
        return _claimed(queue, token, connection), full

    return db.run(transition, point="claim")


def _claimed(queue: str, token: str, connection: Connection) -> list[Row[Any]]:
    query = (
        select(*(jobs.c[name] for name in CLAIMED), jobs.c.lease_token, messages.c.body, messages.c.content_type)
        .join(messages, messages.c.id == jobs.c.message_id)
        .where(jobs.c.queue == queue, jobs.c.claimed_by.is_not(None), jobs.c.finished_at.is_(None))
        .where(jobs.c.lease_token == token)
    )
    return list(connection.execute(_in_order(query)))


def _in_order(query: Select[Any]) -> Select[Any]:
    return query.order_by(jobs.c.priority.desc(), jobs.c.scheduled_at, jobs.c.id)


def keep(db: Database, job_id: str, worker_id: str, lease: float | None) -> tuple[datetime, bool] | None:
    """Move the end of a lease to `lease` seconds from now, or as long as the last time, if it has not run out.

    Gives it, and whether the job is asked to stop; None for who does not hold the job.
    """
    length = jobs.c.lease_duration if lease is None else lease
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id, _held_by(worker_id))
        .values(lease_expires_at=now(length), lease_duration=length)
        .returning(jobs.c.lease_expires_at, jobs.c.cancel_requested_at)
    )
    row = db.run(lambda connection: connection.execute(statement).first())
    return None if row is None else (row.lease_expires_at, row.cancel_requested_at is not None)


def _held_by(worker_id: str) -> Any:
    return and_(
        jobs.c.task.is_(None),
        jobs.c.status == Status.PROCESSING,
        jobs.c.claimed_by == worker_id,
        jobs.c.lease_expires_at > now(),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands with an outside worker. `claim`: its claim, if it holds the job; `duration_ms`: since then.

    `holder`: who holds the job now; `last`: who claimed it last, if nobody had to take it away since.
    """

    task: str | None
    status: str
    original_id: str
    holder: str | None
    last: str | None
    claim: Claim | None
    duration_ms: int


def standing(db: Database, job_id: str, worker_id: str) -> Standing | None:
    """How a job stands with this worker, by the database's clock; None where there is none."""
    held = and_(jobs.c.status == Status.PROCESSING, jobs.c.lease_expires_at > now())
    query = select(
        *(jobs.c[name] for name in Claim.__slots__),
        jobs.c.status,
        jobs.c.claimed_by.label("last"),
        case((held, jobs.c.claimed_by)).label("holder"),
        func.coalesce(-1000 * seconds_until(jobs.c.started_at), 0).label("duration_ms"),
    ).where(jobs.c.id == job_id)
    with db.asking() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    mine = row.task is None and row.holder == worker_id
    claimed = Claim(**{name: getattr(row, name) for name in Claim.__slots__}) if mine else None
    duration = max(0, round(row.duration_ms))
    return Standing(row.task, row.status, row.original_id, row.holder, row.last, claimed, duration)
