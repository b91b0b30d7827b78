"""The audit log in SQL: an act is written before it begins, kept up to date while it goes on, and ended once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, type_coerce, update

from celery_jobs.moments import plain
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now
from celery_jobs.store.tables import Timestamp, audit

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.store.db import Database

__all__ = ["SILENT", "Act", "begin", "end", "find", "note", "read", "stop", "sweep"]

SILENT = 30.0
"""Seconds after which an act that has not ended and says nothing of how far it is was interrupted."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act that changed something, or was to: who, through which door, what, to what, why, and what came of it.

    `door`: cli, dashboard or rest; `result`: done, refused, failed, stopped, or None: it goes on, or was interrupted
    (`is_interrupted`). `matched`, `done`, `skipped`: counts of runs, of many acts None.
    """

    id: str
    at: datetime
    actor: str
    door: str
    address: str | None
    token_id: str | None
    action: str
    target: dict[str, Any]
    reason: str | None
    matched: int | None
    done: int | None
    skipped: int | None
    result: str | None
    error: str | None
    updated_at: datetime
    finished_at: datetime | None
    stop_requested_at: datetime | None
    is_interrupted: bool = False

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


_COLUMNS = [audit.c[field.name] for field in fields(Act)[:-1]]
_SILENT_SINCE = type_coerce(asked_at(-SILENT), Timestamp)


def begin(db: Database, id: str, **values: Any) -> None:
    """Write down an act that is about to begin."""
    new = insert(audit).values(**values, id=id, at=now(), updated_at=now())
    db.run(lambda connection: connection.execute(new))


def note(db: Database, id: str, **counts: int | None) -> bool:
    """Note how far an act is; gives whether it has been asked to stop."""
    statement = update(audit).where(audit.c.id == id).values(**counts, updated_at=now())
    asked = db.run(lambda connection: connection.execute(statement.returning(audit.c.stop_requested_at)).scalar())
    return asked is not None


def end(db: Database, id: str, result: str, **values: Any) -> None:
    """Write down what came of an act; the first word on it stays."""
    mine = update(audit).where(audit.c.id == id, audit.c.finished_at.is_(None))
    statement = mine.values(**values, result=result, updated_at=now(), finished_at=now())
    db.run(lambda connection: connection.execute(statement))


def stop(db: Database, id: str) -> bool:
    """Ask an act to stop that goes on; False where none of this id does."""
    mine = update(audit).where(audit.c.id == id, audit.c.finished_at.is_(None))
    statement = mine.values(stop_requested_at=now())
    return bool(db.run(lambda connection: connection.execute(statement).rowcount))


def find(db: Database, id: str) -> Act | None:
    """The act of an id."""
    with db.asking() as connection:
        row = connection.execute(select(*_COLUMNS, _SILENT_SINCE).where(audit.c.id == id)).first()
    return None if row is None else _act(row)


def read(db: Database, limit: int, before: str | None, asked: dict[str, str]) -> list[Act]:
    """Acts, the newest first, before the one of an id; `asked`: columns and what they are to say."""
    query = select(*_COLUMNS, _SILENT_SINCE).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    for name, value in asked.items():
        query = query.where(audit.c[name] == value)
    with db.asking() as connection:
        return [_act(row) for row in connection.execute(query)]


def sweep(db: Database, days: float, limit: int) -> int:
    """Delete up to `limit` acts that are older than so many days; how many went."""
    # The first by id are the oldest: where they are young, nothing else is looked at.
    first = select(audit.c.id, audit.c.at).order_by(audit.c.id).limit(limit).subquery()
    old = select(first.c.id).where(first.c.at < asked_at(-days * 86_400))
    statement = delete(audit).where(audit.c.id.in_(old))
    return int(db.run(lambda connection: connection.execute(statement).rowcount))


def _act(row: Any) -> Act:
    *values, silent_since = row
    act = Act(*values)
    return replace(act, is_interrupted=act.finished_at is None and act.updated_at <= silent_since)
