"""Reads only: jobs, chains and runs, newest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import null, select, type_coerce

from celery_jobs.ids import parse_id
from celery_jobs.sealing import Unsealable
from celery_jobs.states import Status
from celery_jobs.store import looks, responses
from celery_jobs.store.among import among, has_arrays, of_chains
from celery_jobs.store.db import now
from celery_jobs.store.looks import Look
from celery_jobs.store.rows import JOB_COLUMNS, Claim, Job, Message
from celery_jobs.store.tables import Timestamp, jobs, messages
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.sealing import Sealer
    from celery_jobs.store.db import Database
    from celery_jobs.store.filters import Filter

__all__ = [
    "MESSAGE",
    "Found",
    "attempts",
    "claim_of",
    "clock",
    "count",
    "database_time",
    "find_original",
    "message_of",
    "messages_of",
    "originals",
    "runs",
    "runs_of",
    "untold",
    "with_prefix",
]

COUNTED = 100_000
"""Rows that one statement counts at most: a long one would keep vacuum from what has died since."""

MESSAGE = [messages.c[name] for name in Message.__slots__]
"""What a message is made of, in its order."""

_JOB = [jobs.c[name] if name in JOB_COLUMNS else null() for name in Job.__slots__]
"""What a job is made of, in its order; what it was answered is read apart."""


def find_original(db: Database, id: str | UUID) -> str | None:
    """The id of the original for a job's id or a Celery task id (of which the newest chain counts)."""
    id = str(id)
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


def attempts(db: Database, original_id: str, answers: bool = True) -> list[Job]:
    """Every attempt of a chain, in order; with `answers` each has the response that it got."""
    with db.reading() as connection:
        found = _attempts(db, connection, [original_id])
        if not answers:
            return found
        answered = responses.read(connection, [job.id for job in found if job.response_status is not None], db.sealer)
        return [replace(job, response=answered.get(job.id)) for job in found] if answered else found


def attempts_in(db: Database, session: Any, original_id: str) -> list[Job]:
    """The same of a chain that a transaction of the caller's own has made, and that nobody else sees yet."""
    from celery_jobs.store import transactions  # and the ORM with it, which is slow to import

    with transactions.join(db, session) as (connection, _):
        return _attempts(db, connection, [original_id])


def existing(db: Database, job_ids: list[str], within: float) -> set[str]:
    """Which of these jobs there are, in at most `within` seconds."""
    with db.asking(within) as connection:
        return set(connection.execute(select(jobs.c.id).where(among(jobs.c.id, job_ids, not db.is_sqlite))).scalars())


def _attempts(db: Database, connection: Connection, original_ids: list[str]) -> list[Job]:
    query = select(*_JOB).where(of_chains(original_ids, has_arrays(connection)))
    rows = connection.execute(query.order_by(jobs.c.original_id.desc(), jobs.c.attempt_number))
    return [Job(*row) if db.sealer is None else _opened(Job(*row), db.sealer) for row in rows]


def _opened(job: Job, sealer: Sealer) -> Job:
    """With its result as it was; sealed with a key that is not here it stays as it is."""
    if job.result is None:
        return job
    try:
        return replace(job, result=sealer.open_json(job.result))
    except Unsealable:
        return job


@dataclass(frozen=True, slots=True)
class Found:
    """Chains, each as its attempts. `cursor`: where to go on; `partial`: the look ended before there were enough."""

    chains: list[list[Job]]
    cursor: str | None
    partial: bool


def runs(db: Database, which: Filter, limit: int, before: str | None = None) -> Found:
    """At most `limit` chains, newest first, older than the id `before`; so many as one look at 20,000 rows finds."""
    with db.reading() as connection:
        ids, reached = Look(db, which, looks.LOOKED_AT).find(connection, limit + 1, before)
        cursor = ids[limit - 1] if len(ids) > limit else reached
        partial = len(ids) < limit and reached is not None
        return Found(_chains(db, connection, ids[:limit]), cursor, partial)


def runs_of(db: Database, original_ids: list[str]) -> list[list[Job]]:
    """The chains of these originals, in their order, each as its attempts; those that are gone left out."""
    with db.asking() as connection:
        return [chain for chain in _chains(db, connection, original_ids) if chain]


def _chains(db: Database, connection: Connection, original_ids: list[str]) -> list[list[Job]]:
    chains: dict[str, list[Job]] = {id: [] for id in original_ids}
    for job in _attempts(db, connection, original_ids):
        chains[job.original_id].append(job)
    return list(chains.values())


def database_time(db: Database) -> datetime:
    """The database's now."""
    with db.asking() as connection:
        moment: datetime = connection.execute(clock).scalar_one()
        return moment


clock = select(type_coerce(now(), Timestamp))
"""Asks the same of a transaction."""


def count(db: Database, which: Filter, after: str | None = None) -> tuple[int, str | None]:
    """How many runs are meant, newer than the id `after`, and the newest one's id; counted in steps."""
    look = Look(db, which, COUNTED, end=after)
    total, newest, start = 0, None, None
    while True:
        with db.reading() as connection:
            number, reached = look.count(connection, start)
            if newest is None and number:
                newest = look.find(connection, 1, start)[0][0]
        total += number
        if reached is None:
            return total, newest
        start = reached


def originals(db: Database, which: Filter, limit: int, after: str | None, until: str) -> tuple[list[str], str | None]:
    """At most `limit` ids of runs, oldest first, newer than `after` and no newer than `until`, and where to go on.

    So many as one look at 20,000 rows finds; None: these are the last.
    """
    with db.reading() as connection:
        return Look(db, which, looks.LOOKED_AT, upwards=True, end=until).find(connection, limit, after)


def with_prefix(db: Database, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids of originals that one of their chain's ids begins with, newest first.

    `prefix`: hexadecimal digits of an id, with or without its hyphens; others are no id's beginning.
    """
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > 32 or not set(digits) <= set("0123456789abcdef"):
        return []
    first, last = (str(UUID(digits.ljust(32, end))) for end in "0f")
    newest = select(jobs.c.original_id).where(jobs.c.id >= first, jobs.c.id <= last).order_by(jobs.c.id.desc())
    some = newest.limit(looks.LOOKED_AT).subquery()
    query = select(some.c.original_id).distinct().order_by(some.c.original_id.desc()).limit(limit)
    with db.asking() as connection:
        return list(connection.execute(query).scalars())


def messages_of(db: Database, job_ids: list[str]) -> dict[str, Message]:
    """The messages that jobs are sent with, by job."""
    query = select(jobs.c.id, *MESSAGE).join(messages, jobs.c.message_id == messages.c.id)
    with db.asking() as connection:
        rows = connection.execute(query.where(among(jobs.c.id, job_ids, not db.is_sqlite)))
        return {job_id: Message(*contents) for job_id, *contents in rows}


def message_of(db: Database, job_id: str) -> Message | None:
    """The message that a job is sent with."""
    return messages_of(db, [job_id]).get(job_id)


def claim_of(db: Database, job_id: str, lease_token: str) -> Claim | None:
    """A claim that still stands, by its token."""
    query = select(*(jobs.c[name] for name in Claim.__slots__)).where(
        jobs.c.id == job_id, jobs.c.status == Status.PROCESSING, jobs.c.lease_token == lease_token
    )
    with db.asking() as connection:
        row = connection.execute(query).first()
        return None if row is None else Claim(**row._mapping)


def untold(db: Database, limit: int) -> list[str]:
    """Originals whose verdict Celery has not been told yet, oldest first."""
    query = select(jobs.c.id).where(jobs.c.untold_at.is_not(None)).order_by(jobs.c.untold_at).limit(limit)
    with db.asking() as connection:
        return [row.id for row in connection.execute(query)]
