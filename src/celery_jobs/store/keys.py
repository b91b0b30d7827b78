"""The release of idempotency keys (semantics.md section 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from celery_jobs.store.tables import jobs
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from celery_jobs.store.db import Database

__all__ = ["RELEASED", "release"]

RELEASED: dict[str, Any] = {"idempotency_key": None, "key_expires_at": None}
"""An original that has its key no more."""


def release(db: Database, key: str, scope: str) -> str | None:
    """Take a key from the original that owns it, which is as it was otherwise; its id, None where nobody has the key.

    The next enqueue with the key makes a job.
    """
    if clean(key) != key or clean(scope) != scope:
        return None  # no database has such a text, and none could be asked for it
    owned = update(jobs).where(jobs.c.idempotency_scope == scope, jobs.c.idempotency_key == key)
    statement = owned.values(**RELEASED).returning(jobs.c.id)
    found: str | None = db.run(lambda connection: connection.execute(statement).scalar())
    return found
