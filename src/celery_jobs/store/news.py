"""What has become known of runs between two moments: which were enqueued, which have ended. Reads only.

A transaction writes the time before others see what it wrote. So what is asked for ends at a moment before which
nobody is writing any more; then it stands, and whoever asks from there on gets the rest, and nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import func, select, text, type_coerce

from celery_jobs.store.clock import asked_at
from celery_jobs.store.following import STEP, Step
from celery_jobs.store.last_retry import of_last_retry
from celery_jobs.store.tables import Timestamp, jobs

if TYPE_CHECKING:
    from celery_jobs.store.db import Database
    from celery_jobs.store.filters import Filter

__all__ = ["News", "between", "settled_at"]

SETTLING, LONGEST_SETTLING = 1.0, 30.0
"""Seconds; how far behind the present one stays, and at most where somebody's transaction takes long."""

SKEW = timedelta(seconds=5)
"""How far the clock that made a job's id may be from the database's; also how long before the row it may be made."""


@dataclass(frozen=True, slots=True)
class News:
    """A run that was enqueued, or has ended: its original, and how many attempts it has had."""

    at: datetime
    has_ended: bool
    original: Step
    attempt_number: int
    last_error_type: str | None
    last_error_message: str | None


_settled: Any = text(
    "SELECT least(at - make_interval(secs => :settling), "
    "greatest(at - make_interval(secs => :longest), coalesce(begun, at))) AS at "
    "FROM (SELECT clock_timestamp() AS at, (SELECT min(xact_start) FROM pg_stat_activity "
    "WHERE backend_xid IS NOT NULL AND datname = current_database()) AS begun) writing"
)


def settled_at(db: Database) -> datetime:
    """The moment before which all is written: a second ago, or earlier while a transaction is at work that long."""
    query: Any = select(type_coerce(asked_at(-SETTLING), Timestamp))
    if not db.is_sqlite:
        query = _settled.bindparams(settling=SETTLING, longest=LONGEST_SETTLING).columns(at=Timestamp())
    with db.asking() as connection:
        moment: datetime = connection.execute(query).scalar_one()
        return moment


_NEWS = [*STEP, func.coalesce(of_last_retry("attempt_number"), 1), jobs.c.last_error_type, jobs.c.last_error_message]


def between(db: Database, which: Filter, after: datetime, until: datetime) -> list[News]:
    """What happened from `after` on and before `until`, by its moment. Two statements, each by a range of an index."""
    meant = select(*_NEWS).where(jobs.c.attempt_number == 1, *which.conditions(db))
    made = meant.where(jobs.c.id >= _first_id(after - SKEW), jobs.c.id < _first_id(until + SKEW))
    enqueued = made.where(jobs.c.created_at >= after, jobs.c.created_at < until)
    ended = meant.where(jobs.c.ended_at >= after, jobs.c.ended_at < until)
    with db.reading() as connection:
        found = [_read(row, has_ended=False) for row in connection.execute(enqueued)]
        found += [_read(row, has_ended=True) for row in connection.execute(ended)]
    return sorted(found, key=lambda news: (news.at, news.has_ended, news.original.id))


def _read(row: Any, has_ended: bool) -> News:
    original, others = Step(*row[: len(STEP)]), row[len(STEP) :]
    at = original.ended_at if has_ended else original.created_at
    assert at is not None
    return News(at, has_ended, original, *others)


def _first_id(moment: datetime) -> str:
    """The smallest id that a clock can have made at a moment."""
    return str(UUID(int=max(0, int(moment.timestamp() * 1000)) << 80))
