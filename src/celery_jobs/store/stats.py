"""Counts for people: what each queue holds and what became of it lately, and what the dead letters died of.

Each reads a partial index: what is open, what is dead, what ended within the window. Old history costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select

from celery_jobs.errors import HttpBusy, HttpFailed, HttpGone
from celery_jobs.moments import plain
from celery_jobs.states import FinalStatus, Status
from celery_jobs.store.clock import asked_at
from celery_jobs.store.last_retry import of_last_retry
from celery_jobs.store.new_rows import in_force
from celery_jobs.store.planning import by_index
from celery_jobs.store.tables import Timestamp, jobs, queues

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["MOST_GROUPED", "ErrorGroup", "QueueStats", "error_groups", "queue_stats", "unended"]


MOST_GROUPED = 20_000
"""Dead letters that are grouped by what they died of, the newest: their rows are read, each time somebody looks."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue now, and the runs that ended in it within the window.

    `waiting`: due and pending; `scheduled`: pending, due later, of which `retrying` are retries; `oldest_waiting_at`:
    since when the oldest of the waiting has been due. `paused_at` None: not paused.
    """

    queue: str
    waiting: int = 0
    scheduled: int = 0
    retrying: int = 0
    processing: int = 0
    dead_lettered: int = 0
    oldest_waiting_at: datetime | None = None
    ended_success: int = 0
    ended_dead_lettered: int = 0
    ended_failed_no_retries: int = 0
    ended_cancelled: int = 0
    paused_at: datetime | None = None
    paused_until: datetime | None = None
    paused_by: str | None = None
    paused_reason: str | None = None

    @property
    def ended(self) -> int:
        """Runs that ended within the window."""
        return self.ended_success + self.ended_dead_lettered + self.ended_failed_no_retries + self.ended_cancelled

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {**{name: plain(value) for name, value in asdict(self).items()}, "ended": self.ended}


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Dead letters of one task that died of one class of error; `error_message` is one of theirs.

    `failure_reason`: of requests that failed, which have one class of error; None for all others.
    """

    task: str | None
    error_type: str | None
    failure_reason: str | None
    error_message: str | None
    count: int
    first_at: datetime
    last_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {name: plain(value) for name, value in asdict(self).items()}


def queue_stats(db: Database, window: float, known: Iterable[str] = ()) -> list[QueueStats]:
    """Every queue that holds, held lately, or pauses jobs, and those `known`, by name; `window`: seconds back."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for name in known:
        found[name] = {}
    with db.reading() as connection:
        by_index(connection)
        _count_open(connection, found)
        _count_dead(connection, found)
        _count_ended(connection, found, window)
        _read_pauses(connection, found)
    return [QueueStats(name, **found[name]) for name in sorted(found)]


def _count_open(connection: Connection, found: dict[str, dict[str, Any]]) -> None:
    is_due = (jobs.c.scheduled_at <= asked_at()).label("is_due")
    query = (
        select(
            jobs.c.queue,
            jobs.c.status,
            is_due,
            jobs.c.is_retry,
            func.count().label("number"),
            func.min(jobs.c.scheduled_at, type_=Timestamp).label("oldest"),
        )
        .where(jobs.c.finished_at.is_(None))
        .group_by(jobs.c.queue, jobs.c.status, is_due, jobs.c.is_retry)
    )
    for row in connection.execute(query):
        counts = found[row.queue]
        running = row.status == Status.PROCESSING
        state = "processing" if running else "waiting" if row.is_due else "scheduled"
        counts[state] = counts.get(state, 0) + row.number
        if state == "scheduled" and row.is_retry:
            counts["retrying"] = row.number
        if state == "waiting":
            counts["oldest_waiting_at"] = min(row.oldest, counts.get("oldest_waiting_at", row.oldest))


def _count_dead(connection: Connection, found: dict[str, dict[str, Any]]) -> None:
    query = select(jobs.c.queue, func.count().label("number")).where(jobs.c.dead_lettered_at.is_not(None))
    for row in connection.execute(query.group_by(jobs.c.queue)):
        found[row.queue]["dead_lettered"] = row.number


def _count_ended(connection: Connection, found: dict[str, dict[str, Any]], window: float) -> None:
    query = select(jobs.c.queue, jobs.c.final_status, func.count().label("number")).where(
        jobs.c.ended_at.is_not(None), jobs.c.ended_at >= asked_at(-window)
    )
    for row in connection.execute(query.group_by(jobs.c.queue, jobs.c.final_status)):
        found[row.queue][f"ended_{FinalStatus(row.final_status)}"] = row.number


def _read_pauses(connection: Connection, found: dict[str, dict[str, Any]]) -> None:
    for row in connection.execute(select(queues).where(in_force(asked_at))):
        values = row._mapping
        found[row.name].update({name: values[name] for name in values if name.startswith("paused_")})


def error_groups(db: Database, limit: int) -> list[ErrorGroup]:
    """The newest dead letters by task, class of error and reason of a request's failure, the most frequent first."""
    dead = _dead().subquery()
    key = (dead.c.task, dead.c.error_type, dead.c.failure_reason)
    number = func.count().label("count")
    query = (
        select(
            *key,
            func.max(dead.c.error_message).label("error_message"),
            number,
            func.min(dead.c.dead_lettered_at, type_=Timestamp).label("first_at"),
            func.max(dead.c.dead_lettered_at, type_=Timestamp).label("last_at"),
        )
        .group_by(*key)
        .order_by(number.desc(), *key)
        .limit(limit)
    )
    with db.reading() as connection:
        by_index(connection)
        return [ErrorGroup(**row._mapping) for row in connection.execute(query)]


_OF_REQUESTS = [f"{kind.__module__}.{kind.__qualname__}" for kind in (HttpFailed, HttpGone, HttpBusy)]


def _dead() -> Select[Any]:
    """What each dead letter died of last: the original has that error, and its reason only if it had no retry."""
    kind = func.coalesce(jobs.c.last_error_type, jobs.c.error_type)
    reason = case((kind.in_(_OF_REQUESTS), func.coalesce(of_last_retry("failure_reason"), jobs.c.failure_reason)))
    newest = select(
        jobs.c.task,
        kind.label("error_type"),
        reason.label("failure_reason"),
        func.coalesce(jobs.c.last_error_message, jobs.c.error_message).label("error_message"),
        jobs.c.dead_lettered_at,
    ).where(jobs.c.dead_lettered_at.is_not(None))
    return newest.order_by(jobs.c.id.desc()).limit(MOST_GROUPED)


def unended(db: Database, queue: str, most: int) -> int:
    """How many jobs of a queue wait or run, counted up to `most`."""
    some = select(jobs.c.id).where(jobs.c.queue == queue, jobs.c.finished_at.is_(None)).limit(most)
    with db.reading() as connection:
        by_index(connection)
        return int(connection.execute(select(func.count()).select_from(some.subquery())).scalar_one())
