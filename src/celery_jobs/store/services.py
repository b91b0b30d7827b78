"""When each service last ran: the lock that lets many beats and workers run it once an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select, true, update

from celery_jobs.store.db import insert_into, now, seconds_until
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.tables import services

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Turn", "age", "age_of", "note", "take"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was won. `since`: seconds since the one before it, infinite where there was none.

    `has_work`: whether there may be something to do in it.
    """

    since: float
    has_work: bool


def take(db: Database, name: str, interval: float, sign: ColumnElement[bool] | None = None) -> Turn | None:
    """Win this turn of a service, for one caller each `interval` seconds; None for the others.

    `sign`: what tells whether there is anything to do, asked in the same statement.
    """
    sign = true() if sign is None else sign
    statement = Prepared(lambda is_sqlite: _take(name, interval, sign, is_sqlite), kept=False)

    def transition(connection: Any) -> Turn | None:
        # What SQLite returns is the row as it is afterwards; within its lock it can be asked before.
        earlier = {"since": _ages(connection).get(name)} if db.is_sqlite else {}
        won = statement.first(connection, {})
        if won is None:
            return None
        since = {**won, **earlier}["since"]
        return Turn(math.inf if since is None else since, bool(won["has_work"]))

    return db.run(transition, alone=True)


def _take(name: str, interval: float, sign: ColumnElement[bool], is_sqlite: bool) -> Any:
    values = {"ran_at": now(), "handled": 0, "duration_ms": 0}
    statement = insert_into(services, is_sqlite).values(name=name, **values)
    return statement.on_conflict_do_update(
        index_elements=["name"],
        set_=values,
        where=or_(services.c.ran_at <= now(-interval), services.c.ran_at > now(60)),
    ).returning(age_of(name).label("since"), sign.label("has_work"))


def age_of(name: str) -> ColumnElement[float | None]:
    """Seconds since a service last ran, within another statement, as they were before it; None: it never has."""
    known = services.alias("known")
    return select(-seconds_until(known.c.ran_at)).where(known.c.name == name).scalar_subquery()


def note(db: Database, name: str, handled: int, duration_ms: float) -> None:
    """Record what a turn did, that had something to do."""
    statement = update(services).where(services.c.name == name).values(handled=handled, duration_ms=duration_ms)
    db.run(lambda connection: connection.execute(statement))


def age(db: Database) -> dict[str, float]:
    """Seconds since each service last ran."""
    with db.asking() as connection:
        return _ages(connection)


def _ages(connection: Connection) -> dict[str, float]:
    query = select(services.c.name, seconds_until(services.c.ran_at).label("wait"))
    return {row.name: -row.wait for row in connection.execute(query)}
