"""API tokens in SQL: made, found, used, revoked. Of the secret there is a digest, which gives nothing away."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, insert, or_, select, update

from celery_jobs.ids import parse_id
from celery_jobs.moments import plain
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now
from celery_jobs.store.tables import tokens

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Row

    from celery_jobs.store.db import Database

__all__ = ["Token", "every", "find", "make", "note_use", "revoke"]

USE_NOTED = 60.0
"""Seconds in which a use is noted once."""


@dataclass(frozen=True, slots=True)
class Token:
    """An API token without its secret. `queues` None: of all; `rate`: requests a minute; `last4`: of the secret.

    `prefix`: its beginning, which names it.
    """

    id: str
    name: str
    prefix: str
    last4: str
    scopes: list[str]
    queues: list[str] | None
    rate: int
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


_COLUMNS = [tokens.c[field.name] for field in fields(Token)]


def make(db: Database, digest: str, expires: datetime | float | None, **values: Any) -> Token:
    """Store a token; `expires`: a moment, or seconds by the database's clock."""
    expires_at: Any = now(expires) if isinstance(expires, int | float) else expires
    new = insert(tokens).values(**values, digest=digest, created_at=now(), expires_at=expires_at)
    return _read(db.run(lambda connection: connection.execute(new.returning(*_COLUMNS)).one()))


def find(db: Database, prefix: str) -> tuple[Token, str] | None:
    """The token that is named so, if it is in force, and its digest."""
    in_force = or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > asked_at())
    query = select(*_COLUMNS, tokens.c.digest).where(tokens.c.prefix == prefix, tokens.c.revoked_at.is_(None), in_force)
    with db.asking() as connection:
        row = connection.execute(query).first()
    return None if row is None else (_read(row[:-1]), str(row.digest))


def note_use(db: Database, id: str) -> None:
    """Note that a token is used, to the minute."""
    is_old = or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < now(-USE_NOTED))
    statement = update(tokens).where(tokens.c.id == id, is_old).values(last_used_at=now())
    db.run(lambda connection: connection.execute(statement))


def every(db: Database) -> list[Token]:
    """All tokens, the newest first, those that are over too."""
    with db.asking() as connection:
        return [_read(row) for row in connection.execute(select(*_COLUMNS).order_by(tokens.c.id.desc()))]


def revoke(db: Database, name: str, by: str | None) -> Token | None:
    """End a token, by its id or its prefix; None where there is none. One that is revoked stays as it was."""
    id = parse_id(name)
    mine = tokens.c.prefix == name if id is None else tokens.c.id == id
    is_new = tokens.c.revoked_at.is_(None)
    values = {
        "revoked_at": case((is_new, now()), else_=tokens.c.revoked_at),
        "revoked_by": case((is_new, by), else_=tokens.c.revoked_by),
    }
    statement = update(tokens).where(mine).values(values).returning(*_COLUMNS)
    row = db.run(lambda connection: connection.execute(statement).first())
    return None if row is None else _read(row)


def _read(row: Row[Any] | Any) -> Token:
    return Token(*row)
