"""How things go: what ended, minute by minute, who works, which services ran. Old history costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, case, cast, func, literal, select, union_all

from celery_jobs.states import FinalStatus, Status
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import seconds_until
from celery_jobs.store.planning import by_index
from celery_jobs.store.tables import jobs, services, workers

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select

    from celery_jobs.store.db import Database

__all__ = ["Ended", "Sample", "ServiceRow", "WorkerRow", "ended", "sample", "service_rows", "worker_rows"]

SAMPLED = 200
"""Chains of a minute whose times are read."""

DEAD_SHOWN = 3600.0
"""Seconds that a dead worker is still told of."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How many chains of a queue got a verdict, in the minute that was so many minutes ago; how many at a retry."""

    minute: int
    queue: str
    final_status: str
    number: int
    retried: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one chain: seconds that its first attempt waited when it was due, and ran."""

    minute: int
    queue: str
    waited: float | None
    ran: float | None


def _in_window(minutes: int) -> ColumnElement[bool]:
    return and_(jobs.c.ended_at.is_not(None), jobs.c.ended_at >= asked_at(-60.0 * minutes))


def ended(db: Database, minutes: int) -> list[Ended]:
    """What ended within the last minutes, counted by minute, queue and verdict."""
    age = -seconds_until(jobs.c.ended_at) / 60.0
    minute = cast(age, Integer) if db.is_sqlite else cast(func.floor(age), Integer)
    at_retry = and_(jobs.c.status == Status.FAILED, jobs.c.final_status == FinalStatus.SUCCESS)
    counted = (func.count(), func.sum(case((at_retry, 1), else_=0)))
    query = select(minute.label("minute"), jobs.c.queue, jobs.c.final_status, *counted).where(_in_window(minutes))
    with db.reading() as connection:
        by_index(connection)
        rows = connection.execute(query.group_by(minute, jobs.c.queue, jobs.c.final_status))
        return [Ended(max(0, row[0]), row[1], str(row[2]), row[3], int(row[4])) for row in rows]


def sample(db: Database, minutes: int) -> list[Sample]:
    """The times of some chains of each of the last minutes."""
    parts = [_of_minute(minute).subquery() for minute in range(minutes)]
    query = union_all(*(select(part) for part in parts))
    with db.reading() as connection:
        by_index(connection)
        return [Sample(*row) for row in connection.execute(query)]


def _of_minute(minute: int) -> Select[Any]:
    waited = -seconds_until(jobs.c.scheduled_at) + seconds_until(jobs.c.started_at)
    within = (jobs.c.ended_at >= asked_at(-60.0 * (minute + 1)), jobs.c.ended_at < asked_at(-60.0 * minute))
    query = select(literal(minute), jobs.c.queue, waited, jobs.c.duration_ms / 1000.0)
    return query.where(jobs.c.ended_at.is_not(None), *within).limit(SAMPLED)


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service: seconds since its last turn, milliseconds that this took, how much it handled."""

    name: str
    age: float
    duration_ms: float | None
    handled: int | None


def service_rows(db: Database) -> list[ServiceRow]:
    """The services that ever ran, by name."""
    age = -seconds_until(services.c.ran_at)
    query = select(services.c.name, age, services.c.duration_ms, services.c.handled).order_by(services.c.name)
    with db.asking() as connection:
        return [ServiceRow(*row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker; `silence`: seconds since its last heartbeat; `dead_at`: since when it counts as dead."""

    id: str
    hostname: str
    pid: int
    queues: list[str]
    started_at: datetime
    silence: float
    dead_at: datetime | None


def worker_rows(db: Database) -> list[WorkerRow]:
    """The workers that live, and those that died within the last hour."""
    silence = -seconds_until(workers.c.heartbeat_at)
    shown = workers.c.dead_at.is_(None) | (workers.c.dead_at >= asked_at(-DEAD_SHOWN))
    columns = (workers.c.id, workers.c.hostname, workers.c.pid, workers.c.queues, workers.c.started_at)
    query = select(*columns, silence, workers.c.dead_at).where(shown).order_by(workers.c.hostname)
    with db.asking() as connection:
        return [WorkerRow(*row) for row in connection.execute(query)]
