"""The jobs database of a sandbox: a SQLite file of its own, with the schema in it, on the virtual clock."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from celery_jobs.store import migrations
from celery_jobs.store.db import Database
from celery_jobs.testing.transactions import lend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.testing.clock import VirtualClock

__all__ = ["temporary_database"]


@contextmanager
def temporary_database(clock: VirtualClock) -> Iterator[Database]:
    """A migrated database in a folder that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="celery-jobs-sandbox-") as folder:
        file = Path(folder, "jobs.sqlite3")
        file.write_bytes(_migrated())
        db = Database(f"sqlite:///{file}", clock=clock)
        db.lends = partial(lend, db)
        event.listen(db.engine, "connect", _hasten)
        try:
            yield db
        finally:
            db.dispose()


@cache
def _migrated() -> bytes:
    """The bytes of a database with nothing but the schema: migrating takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="celery-jobs-schema-") as folder:
        file = Path(folder, "schema.sqlite3")
        migrations.upgrade(f"sqlite:///{file}")
        return file.read_bytes()


def _hasten(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")  # nothing here need survive a loss of power
