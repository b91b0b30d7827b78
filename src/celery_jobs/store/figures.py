"""Chains that have ended, in order, for counters: each is given once, however late its transaction was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from celery_jobs.store.among import has_arrays, of_chains
from celery_jobs.store.planning import by_index
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.store.db import Database

__all__ = ["Attempt", "EndedChain", "ended_chains"]


@dataclass(frozen=True, slots=True)
class EndedChain:
    """The original of a chain that has its verdict."""

    id: str
    ended_at: datetime
    queue: str
    final_status: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of such a chain."""

    queue: str
    is_retry: bool
    scheduled_at: datetime
    started_at: datetime | None
    duration_ms: int | None
    callback_state: str | None


_CHAIN = [jobs.c[name] for name in EndedChain.__slots__]
_ATTEMPT = [jobs.c[name] for name in Attempt.__slots__]


def ended_chains(
    db: Database, after: tuple[datetime, str], until: datetime, limit: int
) -> tuple[list[EndedChain], list[Attempt]]:
    """At most `limit` chains that ended behind a moment and an id, and before `until`, in order; and their attempts."""
    moment, id = after
    behind = or_(jobs.c.ended_at > moment, and_(jobs.c.ended_at == moment, jobs.c.id > id))
    within = and_(jobs.c.ended_at.is_not(None), jobs.c.ended_at >= moment, jobs.c.ended_at < until, behind)
    query = select(*_CHAIN).where(within).order_by(jobs.c.ended_at, jobs.c.id).limit(limit)
    with db.reading() as connection:
        by_index(connection)
        chains = [EndedChain(*row) for row in connection.execute(query)]
        ids = [chain.id for chain in chains]
        rows = connection.execute(select(*_ATTEMPT).where(of_chains(ids, has_arrays(connection)))) if ids else ()
        return chains, [Attempt(*row) for row in rows]
