"""The schema's versions: made and upgraded by `celery -A app jobs migrate`, checked at every process's start."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text

from celery_jobs.errors import SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["HEAD", "VERSIONS", "VERSION_TABLE", "current", "problem", "require", "require_beside", "upgrade"]

VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013")
"""Every version of the schema, oldest first; one file each in `versions/`."""

HEAD = VERSIONS[-1]
"""The version that this release works with."""

VERSION_TABLE = "celery_jobs_version"
LOCK = 0x6A6F6273

LOCK_PAUSE = 0.1
LONGEST_UPGRADE, LONGEST_LOCK = 3600.0, 5
"""Seconds that an upgrade may take beside its indexes, and that it waits for a table which somebody uses."""

WAIT_BRIEFLY = text(f"SET LOCAL lock_timeout = '{LONGEST_LOCK * 1000:.0f}ms'")

CONCURRENTLY = (
    ("0002", "jobs_callbacks", "jobs (callback_at) WHERE callback_state IN ('due', 'sending')"),
    (
        "0003",
        "jobs_unalerted",
        "jobs (queue, dead_lettered_at) WHERE dead_lettered_at IS NOT NULL AND alerted_at IS NULL",
    ),
    ("0004", "jobs_live", "jobs (queue, sent_at) WHERE finished_at IS NULL"),
    ("0004", "jobs_expiring", "jobs (expires_at) WHERE expires_at IS NOT NULL AND finished_at IS NULL"),
    ("0004", "jobs_letters", "jobs (id) WHERE dead_lettered_at IS NOT NULL"),
    ("0004", "jobs_letters_of", "jobs (queue, id) WHERE dead_lettered_at IS NOT NULL"),
    ("0004", "jobs_replays", "jobs (replay_of) WHERE replay_of IS NOT NULL"),
    ("0005", "jobs_tags", "jobs USING gin (tags) WHERE tags IS NOT NULL AND attempt_number = 1"),
    ("0006", "jobs_leased", "jobs (queue) WHERE claimed_by IS NOT NULL AND finished_at IS NULL"),
    ("0007", "jobs_terminating", "jobs (id) WHERE terminate_requested_at IS NOT NULL AND finished_at IS NULL"),
    (
        "0009",
        "jobs_to_send",
        "jobs (queue, priority, scheduled_at, id)"
        " WHERE sent_at IS NULL AND finished_at IS NULL AND task IS NOT NULL AND waits_for IS NULL",
    ),
    (
        "0009",
        "jobs_to_pull",
        "jobs (queue, priority, scheduled_at, id) WHERE task IS NULL AND finished_at IS NULL AND waits_for IS NULL",
    ),
    (
        "0009",
        "jobs_limited",
        "jobs (waits_for, priority DESC, scheduled_at, id)"
        " WHERE waits_for IS NOT NULL AND sent_at IS NULL AND finished_at IS NULL",
    ),
    (
        "0009",
        "jobs_woken",
        "jobs (waits_for, sent_at) WHERE waits_for IS NOT NULL AND sent_at IS NOT NULL AND finished_at IS NULL",
    ),
)
"""Indexes that are built on PostgreSQL while everybody goes on writing, each with the version that has it."""

REPLACED = (("0004", "jobs_open"), ("0006", "jobs_unsent"), ("0009", "jobs_held"), ("0009", "jobs_pulled"))
"""Indexes that those stand in for."""

COLUMNS = {
    "0003": "alerted_at TIMESTAMP WITH TIME ZONE",
    "0006": "claimed_by TEXT",
    "0007": "terminate_requested_at TIMESTAMP WITH TIME ZONE",
    "0009": "waits_for TEXT",
}
"""Columns that they need, and that the version before has not."""


def upgrade(db: Database | str, revision: str = "head") -> str | None:
    """Make the schema or bring it up to date; gives the version that it had before, None for an empty one.

    Safe to run twice at once: the second waits for the first.
    """
    if isinstance(db, str):
        from celery_jobs.store.db import Database

        owned = Database(db)
        try:
            return upgrade(owned, revision)
        finally:
            owned.dispose()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it speaks as soon as it is imported
    from alembic import command

    if not db.is_sqlite:
        _build_indexes(db)
    with db.transaction(LONGEST_UPGRADE) as connection:
        if not db.is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            # Behind a long reader everybody would queue up behind this: better to give up, and say so.
            connection.execute(WAIT_BRIEFLY)
        before = _current(connection)
        command.upgrade(config(connection), revision)
        return before


def _build_indexes(db: Database) -> None:
    """Build the new indexes of a PostgreSQL that is in use, with workers at work: it takes as long as it takes."""
    before = current(db)
    if before is None:
        return
    if db.is_pooled and before in VERSIONS[:-1]:
        raise SchemaOutdated(
            f"the jobs database {db.url.render_as_string()} is behind a pooler, through which indexes cannot be built "
            "beside those who write; migrate it with jobs_database_url leading to the server itself, and "
            "jobs_database_pooler = False"
        )
    with db.transaction() as connection:
        connection.execute(WAIT_BRIEFLY)
        for column in [found for version, found in COLUMNS.items() if version > before]:
            connection.execute(text(f"ALTER TABLE jobs ADD COLUMN IF NOT EXISTS {column}"))
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET lock_timeout = 0"))
        # Waiting for the lock inside a statement would hold a snapshot that the other's index waits for.
        while not connection.execute(text(f"SELECT pg_try_advisory_lock({LOCK})")).scalar():
            time.sleep(LOCK_PAUSE)
        try:
            for name, index in [(name, index) for version, name, index in CONCURRENTLY if version > before]:
                if connection.execute(_BROKEN, {"name": name}).first() is not None:  # left by one that was killed
                    connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
                connection.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {index}"))
            for name in [name for version, name in REPLACED if version > before]:
                connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
            connection.invalidate()


_BROKEN = text("SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = to_regclass(:name)")


def current(db: Database) -> str | None:
    """The version of the schema; None where there is none."""
    with db.reading() as connection:
        return _current(connection)


def problem(db: Database) -> str | None:
    """What keeps a database from being used, for a sentence that begins with its name: its schema is missing or old.

    A newer schema is taken as it is: during a deploy old workers live with it.
    """
    return _problem(current(db))


def _problem(version: str | None) -> str | None:
    if version is None:
        return "has no tables yet"
    return f"has the version {version}, older than {HEAD}" if version in VERSIONS[:-1] else None


def require(db: Database) -> None:
    """Raise SchemaOutdated where the schema is missing or old; a SQLite file is made and upgraded by itself."""
    found = problem(db)
    if found is not None and db.is_sqlite:
        upgrade(db)
    elif found is not None:
        raise _outdated(db, found)


def require_beside(db: Database, connection: Connection) -> None:
    """The same as an open transaction on the file sees it, which would keep us waiting were we to make anything."""
    found = _problem(_current(connection))
    if found is not None:
        raise _outdated(db, found)


def _outdated(db: Database, problem: str) -> SchemaOutdated:
    where = db.url.render_as_string()
    return SchemaOutdated(f"the jobs database {where} {problem}; run: celery -A <your app> jobs migrate")


def config(connection: Any = None) -> Config:
    """Alembic's configuration for our migrations, over an open connection."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def _current(connection: Any) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a name of ours
    return None if version is None else str(version)
