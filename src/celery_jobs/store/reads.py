"""Reads only: jobs, chains and runs, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import aliased

from celery_jobs.ids import parse_id
from celery_jobs.states import FinalStatus, Status, parse_filter
from celery_jobs.store.rows import Claim, Job, Message
from celery_jobs.store.tables import jobs, messages
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Filter", "attempts", "claim_of", "find_original", "message_of", "runs", "untold"]

_JOB_COLUMNS = [jobs.c[name] for name in Job.__slots__]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs to list. `status`: any state, as the documents spell it; `before`: an id, exclusive."""

    status: str | None = None
    queue: str | None = None
    task: str | None = None
    before: str | None = None


def find_original(db: Database, id: str) -> str | None:
    """The id of the original for a job's id or a Celery task id (of which the newest chain counts)."""
    if clean(id) != id:
        return None  # no database has such a text, and none could be asked for it
    with db.reading() as connection:
        job_id = parse_id(id)
        if job_id is not None:
            row = connection.execute(select(jobs.c.original_id).where(jobs.c.id == job_id)).first()
            if row is not None:
                return str(row.original_id)
        row = connection.execute(
            select(jobs.c.original_id)
            .where(jobs.c.task_id == id, jobs.c.attempt_number == 1)
            .order_by(jobs.c.created_at.desc(), jobs.c.nesting.desc(), jobs.c.reuse.desc())
            .limit(1)
        ).first()
        return None if row is None else str(row.original_id)


def attempts(db: Database, original_id: str) -> list[Job]:
    """Every attempt of a chain, in order."""
    with db.reading() as connection:
        return _attempts(connection, [original_id])


def _attempts(connection: Connection, original_ids: list[str]) -> list[Job]:
    later = and_(jobs.c.original_id.in_(original_ids), jobs.c.attempt_number > 1)
    query = (
        select(*_JOB_COLUMNS)
        .where(or_(jobs.c.id.in_(original_ids), later))
        .order_by(jobs.c.original_id.desc(), jobs.c.attempt_number)
    )
    return [Job(**row._mapping) for row in connection.execute(query)]


def runs(db: Database, which: Filter, limit: int) -> list[list[Job]]:
    """At most `limit` chains, newest first, each as its attempts."""
    with db.reading() as connection:
        ids = [row.id for row in connection.execute(_originals(which).limit(limit))]
        chains: dict[str, list[Job]] = {id: [] for id in ids}
        for job in _attempts(connection, ids):
            chains[job.original_id].append(job)
        return list(chains.values())


def _originals(which: Filter) -> Any:
    query = select(jobs.c.id).where(jobs.c.attempt_number == 1).order_by(jobs.c.id.desc())
    if which.queue is not None:
        query = query.where(jobs.c.queue == which.queue)
    if which.task is not None:
        query = query.where(jobs.c.task == which.task)
    if which.before is not None:
        query = query.where(jobs.c.id < which.before)
    return query if which.status is None else query.where(_in_state(parse_filter(which.status)))


def _in_state(state: Status | FinalStatus) -> Any:
    if state == FinalStatus.DEAD_LETTERED:
        # The partial index of the dead-letter queue answers this one.
        return and_(jobs.c.dead_lettered_at.is_not(None), jobs.c.final_status == state)
    if isinstance(state, FinalStatus):
        return jobs.c.final_status == state
    later, last = aliased(jobs), aliased(jobs)
    newest = (
        select(later.c.attempt_number)
        .where(or_(later.c.id == jobs.c.id, and_(later.c.original_id == jobs.c.id, later.c.attempt_number > 1)))
        .order_by(later.c.attempt_number.desc())
        .limit(1)
        .correlate(jobs)
        .scalar_subquery()
    )
    return (
        select(last.c.id)
        .where(last.c.original_id == jobs.c.id, last.c.attempt_number == newest, last.c.status == state)
        .correlate(jobs)
        .exists()
    )


def message_of(db: Database, job_id: str) -> Message | None:
    """The message that a job is sent with."""
    query = select(messages).join(jobs, jobs.c.message_id == messages.c.id).where(jobs.c.id == job_id)
    with db.reading() as connection:
        row = connection.execute(query).first()
        return None if row is None else Message(**row._mapping)


def claim_of(db: Database, job_id: str, lease_token: str) -> Claim | None:
    """A claim that still stands, by its token."""
    query = select(*(jobs.c[name] for name in Claim.__slots__)).where(
        jobs.c.id == job_id, jobs.c.status == Status.PROCESSING, jobs.c.lease_token == lease_token
    )
    with db.reading() as connection:
        row = connection.execute(query).first()
        return None if row is None else Claim(**row._mapping)


def untold(db: Database, limit: int) -> list[str]:
    """Originals whose verdict Celery has not been told yet, oldest first."""
    query = select(jobs.c.id).where(jobs.c.untold_at.is_not(None)).order_by(jobs.c.untold_at).limit(limit)
    with db.reading() as connection:
        return [row.id for row in connection.execute(query)]
