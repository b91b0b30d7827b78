"""Schedules in SQL: made, changed and ticked here. A tick and its job are one transaction, guarded by `next_at`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, delete, or_, select, type_coerce, update

from celery_jobs.moments import plain
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import insert_into, now, seconds_until
from celery_jobs.store.enqueue import insert_jobs
from celery_jobs.store.reads import clock
from celery_jobs.store.tables import Timestamp, jobs, schedules
from celery_jobs.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Row

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Enqueued, NewJob

__all__ = [
    "GRACE",
    "Outcome",
    "Schedule",
    "Ticked",
    "every",
    "find",
    "pause",
    "put",
    "remove",
    "resume",
    "run",
    "soon",
    "tick",
]

GRACE = 60.0
"""Seconds that a tick may be late; one that is later was missed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is made, and when. `next_at`: the next tick; `last_at`, `last_job_id`: the last one that made a job.

    `options`: those of the enqueue; `every`: seconds; `missed`: run or skip; `overlap`: allow or skip.
    """

    name: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    cron: str | None
    timezone: str | None
    every: float | None
    missed: str
    overlap: str
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    next_at: datetime | None
    last_at: datetime | None
    last_job_id: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def timetable(self) -> Timetable:
        """When it ticks."""
        return Timetable(self.cron, self.timezone, self.every)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {name: plain(value) for name, value in asdict(self).items()}


class Outcome(StrEnum):
    """What became of a tick: a job, or why there is none."""

    MADE = "made"
    MISSED = "missed"
    OVERLAP = "overlap"
    TAKEN = "taken"
    """Another beat has it, or the schedule is not as it was."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """A tick's outcome, and what was enqueued with it, in the order of the jobs given."""

    outcome: Outcome
    enqueued: list[Enqueued]


_COLUMNS = [schedules.c[field.name] for field in fields(Schedule)]


def put(db: Database, values: dict[str, Any], timetable: Timetable) -> tuple[Schedule, bool]:
    """Make a schedule or change the one of its name; that, and whether it was made.

    Its next tick stays where its timetable does; who has paused it, too.
    """

    def transition(connection: Connection) -> tuple[Schedule, bool]:
        moment = connection.execute(clock).scalar_one()
        next_at = timetable.after(moment, moment)
        given = {**values, **asdict(timetable), "updated_at": moment}
        stays = and_(*(schedules.c[name].is_not_distinct_from(value) for name, value in asdict(timetable).items()))
        statement = insert_into(schedules, db.is_sqlite).values(**given, next_at=next_at, created_at=moment)
        kept = case((stays, schedules.c.next_at), else_=next_at)
        upsert = statement.on_conflict_do_update(index_elements=["name"], set_={**given, "next_at": kept})
        made = _read(connection.execute(upsert.returning(*_COLUMNS)).one())
        return made, made.created_at == moment

    return db.run(transition)


def every(db: Database) -> list[Schedule]:
    """All schedules, by name."""
    with db.asking() as connection:
        return [_read(row) for row in connection.execute(select(*_COLUMNS).order_by(schedules.c.name))]


def find(db: Database, name: str) -> Schedule | None:
    """The schedule of a name."""
    with db.asking() as connection:
        return _found(connection.execute(select(*_COLUMNS).where(schedules.c.name == name)).first())


def soon(db: Database, within: float) -> list[tuple[Schedule, float]]:
    """The schedules that tick within so many seconds, the nearest first, and the seconds until then."""
    wait = seconds_until(schedules.c.next_at).label("wait")
    is_near = and_(schedules.c.paused_at.is_(None), schedules.c.next_at <= asked_at(within))
    with db.asking() as connection:
        rows = connection.execute(select(*_COLUMNS, wait).where(is_near).order_by(schedules.c.next_at)).all()
    return [(_read(row[:-1]), float(row.wait)) for row in rows]


def pause(db: Database, name: str, by: str | None, reason: str | None) -> Schedule | None:
    """Let a schedule tick no more; one that is paused stays so since when it was. None where there is none."""
    since = case((schedules.c.paused_at.is_(None), now()), else_=schedules.c.paused_at)
    values = {"paused_at": since, "paused_by": by, "paused_reason": reason}
    statement = update(schedules).where(schedules.c.name == name).values(values).returning(*_COLUMNS)
    return db.run(lambda connection: _found(connection.execute(statement).first()))


def resume(db: Database, name: str) -> tuple[Schedule, bool] | None:
    """Let it tick again, from now on; that, and whether it was paused. None where there is none."""

    def transition(connection: Connection) -> tuple[Schedule, bool] | None:
        found = _locked(connection, schedules.c.name == name)
        if found is None or found[0].paused_at is None:
            return found and (found[0], False)
        schedule, moment = found
        values = {
            **dict.fromkeys(("paused_at", "paused_by", "paused_reason")),
            "next_at": schedule.timetable.after(moment, schedule.next_at or moment),
        }
        statement = update(schedules).where(schedules.c.name == name).values(values).returning(*_COLUMNS)
        return _read(connection.execute(statement).one()), True

    return db.run(transition)


def remove(db: Database, name: str) -> bool:
    """Delete a schedule; its jobs stay. False where there is none."""
    statement = delete(schedules).where(schedules.c.name == name)
    return bool(db.run(lambda connection: connection.execute(statement).rowcount))


def tick(db: Database, seen: Schedule, new: Sequence[NewJob]) -> Ticked:
    """Make the job of a tick, the first of `new`, and move `next_at`: for one of those who have seen the tick."""
    return db.run(partial(_tick, db, seen, new), point="tick")


def _tick(db: Database, seen: Schedule, new: Sequence[NewJob], connection: Connection) -> Ticked:
    is_due = and_(
        schedules.c.name == seen.name,
        schedules.c.paused_at.is_(None),
        schedules.c.updated_at == seen.updated_at,
        schedules.c.next_at == seen.next_at,
        schedules.c.next_at <= now(),
    )
    # A try whose reply was lost has moved it already, and finds its own jobs.
    was_ours = and_(schedules.c.name == seen.name, schedules.c.last_job_id == new[0].id)
    found = _locked(connection, or_(is_due, was_ours), passing=True)
    if found is None:
        return Ticked(Outcome.TAKEN, [])
    schedule, moment = found
    if schedule.last_job_id == new[0].id:
        return Ticked(Outcome.MADE, insert_jobs(db, new, connection))
    assert schedule.next_at is not None
    outcome = _judge(schedule, moment, connection)
    values: dict[str, Any] = {"next_at": schedule.timetable.after(moment, schedule.next_at)}
    made = insert_jobs(db, new, connection) if outcome is Outcome.MADE else []
    if made:
        values.update(last_at=moment, last_job_id=made[0].job_id)
    connection.execute(update(schedules).where(schedules.c.name == seen.name).values(values))
    return Ticked(outcome, made)


def _judge(schedule: Schedule, moment: datetime, connection: Connection) -> Outcome:
    assert schedule.next_at is not None
    if schedule.missed == "skip" and moment - schedule.next_at > timedelta(seconds=GRACE):
        return Outcome.MISSED
    if schedule.overlap == "skip" and schedule.last_job_id is not None:
        lives = select(jobs.c.id).where(jobs.c.id == schedule.last_job_id, jobs.c.ended_at.is_(None))
        if connection.execute(lives).first() is not None:
            return Outcome.OVERLAP
    return Outcome.MADE


def run(db: Database, name: str, new: Sequence[NewJob]) -> list[Enqueued] | None:
    """Make a job outside of the ticks, the first of `new`; None where there is no such schedule."""

    def transition(connection: Connection) -> list[Enqueued] | None:
        if _locked(connection, schedules.c.name == name) is None:
            return None
        made = insert_jobs(db, new, connection)
        values = {"last_at": now(), "last_job_id": made[0].job_id}
        connection.execute(update(schedules).where(schedules.c.name == name).values(values))
        return made

    return db.run(transition)


def _locked(connection: Connection, condition: Any, passing: bool = False) -> tuple[Schedule, datetime] | None:
    """A schedule for whoever is to change it, and the time. `passing`: none where somebody else is changing it."""
    query = select(*_COLUMNS, type_coerce(now(), Timestamp)).where(condition).with_for_update(skip_locked=passing)
    row = connection.execute(query).first()
    return None if row is None else (_read(row[:-1]), row[-1])


def _found(row: Row[Any] | None) -> Schedule | None:
    return None if row is None else _read(row)


def _read(row: Any) -> Schedule:
    return Schedule(*row)
