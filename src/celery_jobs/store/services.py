"""When each service last ran: the lock that lets many beats and workers run it once an interval.

A turn may be taken in slices: until the last of them has ended, `handled` is NULL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, not_, or_, select, true, update

from celery_jobs.store.db import insert_into, now, seconds_until
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.tables import services

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Pace", "Turn", "age", "age_of", "note", "take"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was won. `since`: seconds since the one before it, infinite where there was none.

    `has_work`: whether there may be something to do in it.
    """

    since: float
    has_work: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """When the next slice of an unfinished turn is due.

    `pauses`: how many times as long as the slice before took is waited; `grace`: seconds more, left to who took that.
    """

    pauses: float
    grace: float


def take(
    db: Database, name: str, interval: float, sign: ColumnElement[bool] | None = None, pace: Pace | None = None
) -> Turn | None:
    """Win this turn of a service, for one caller each `interval` seconds; None for the others.

    `sign`: what tells whether there is anything to do, asked in the same statement. `pace`: of a turn in slices, which
    goes on until `note` says that it has ended.
    """
    sign = true() if sign is None else sign
    statement = Prepared(lambda is_sqlite: _take(name, interval, sign, pace, is_sqlite), kept=False)

    def transition(connection: Any) -> Turn | None:
        # What SQLite returns is the row as it is afterwards; within its lock it can be asked before.
        earlier = {"since": _ages(connection).get(name)} if db.is_sqlite else {}
        won = statement.first(connection, {})
        if won is None:
            return None
        since = {**won, **earlier}["since"]
        return Turn(math.inf if since is None else since, bool(won["has_work"]))

    return db.run(transition, alone=True)


def _take(name: str, interval: float, sign: ColumnElement[bool], pace: Pace | None, is_sqlite: bool) -> Any:
    known = None if pace else 0
    values = {"ran_at": now(), "handled": known, "duration_ms": known}
    statement = insert_into(services, is_sqlite).values(name=name, **values)
    return statement.on_conflict_do_update(
        index_elements=["name"],
        set_=values,
        where=or_(_is_due(interval, pace), services.c.ran_at > now(60)),
    ).returning(age_of(name).label("since"), sign.label("has_work"))


def _is_due(interval: float, pace: Pace | None) -> ColumnElement[bool]:
    if pace is None:
        return services.c.ran_at <= now(-interval)
    # None is known of a slice that is under way, or that died with its worker.
    wait = func.coalesce(services.c.duration_ms, 0.0) * ((1 + pace.pauses) / 1000) + pace.grace
    is_over = services.c.handled.is_not(None)
    return or_(and_(is_over, services.c.ran_at <= now(-interval)), and_(not_(is_over), services.c.ran_at <= now(-wait)))


def age_of(name: str) -> ColumnElement[float | None]:
    """Seconds since a service last ran, within another statement, as they were before it.

    None: it never has, or has not come to its end.
    """
    known = services.alias("known")
    is_meant = and_(known.c.name == name, known.c.handled.is_not(None))
    return select(-seconds_until(known.c.ran_at)).where(is_meant).scalar_subquery()


def note(db: Database, name: str, handled: int | None, duration_ms: float) -> None:
    """Record what a turn did, that had something to do. `handled`: None after a slice that another is to follow."""
    statement = update(services).where(services.c.name == name).values(handled=handled, duration_ms=duration_ms)
    db.run(lambda connection: connection.execute(statement))


def age(db: Database) -> dict[str, float]:
    """Seconds since each service last ran."""
    with db.asking() as connection:
        return _ages(connection)


def _ages(connection: Connection) -> dict[str, float]:
    query = select(services.c.name, seconds_until(services.c.ran_at).label("wait"))
    return {row.name: -row.wait for row in connection.execute(query)}
