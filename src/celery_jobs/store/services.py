"""When each service last ran: the lock that lets many beats and workers run it once an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select, update

from celery_jobs.store.db import now, seconds_until
from celery_jobs.store.tables import services

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["age", "note", "take"]


def take(db: Database, name: str, interval: float) -> bool:
    """Win this turn of a service: True for one caller each `interval` seconds."""

    def transition(connection: Connection) -> bool:
        row = {"name": name, "ran_at": now()}
        statement = db.insert(services).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"ran_at": now()},
            where=or_(services.c.ran_at <= now(-interval), services.c.ran_at > now(60)),
        )
        return connection.execute(statement.returning(services.c.name)).first() is not None

    return db.run(transition)


def note(db: Database, name: str, handled: int, duration_ms: float) -> None:
    """Record what a turn did."""
    statement = update(services).where(services.c.name == name).values(handled=handled, duration_ms=duration_ms)
    db.run(lambda connection: connection.execute(statement))


def age(db: Database) -> dict[str, float]:
    """Seconds since each service last ran."""
    query = select(services.c.name, seconds_until(services.c.ran_at).label("wait"))
    with db.reading() as connection:
        return {row.name: -row.wait for row in connection.execute(query)}
