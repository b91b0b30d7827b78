"""The servers of a run: a Valkey, and a PostgreSQL whose commits are on disk, with a database for each purpose."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from redis import Redis
from sqlalchemy import make_url

from benchmarks import history
from celery_jobs.demo.valkey import start_valkey
from celery_jobs.store import migrations
from tests.servers.postgres import start_postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.demo.valkey import Valkey
    from tests.servers.postgres import Postgres

__all__ = ["SETTINGS", "Stage", "dsn_of", "query", "staged"]

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "512MB",
    "shared_preload_libraries": "pg_stat_statements",
}
"""The server's, the same for every contender; what is not here has its default, fsync and synchronous_commit on."""

SEED = 7


@dataclass(slots=True)
class Stage:
    """The servers, and the databases with history that are kept for the whole run."""

    valkey: Valkey
    postgres: Postgres
    folder: Path
    say: Callable[[str], None]
    _kept: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def empty_broker(self) -> str:
        """The broker's URL, nothing in it."""
        with Redis.from_url(self.valkey.url) as client:
            client.flushall()
        return self.valkey.url

    def new_folder(self) -> Path:
        """A folder for one run's files."""
        folder = self.folder / f"run-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def database_with(self, rows: int, mix: history.Mix = history.EVERYDAY) -> str:
        """The URL of a migrated database with so many rows of history, made at its first use."""
        name = f"{mix.name}_{rows}"
        if name not in self._kept:
            self.say(f"filling {rows:,} rows of history ({mix.name})")
            self._kept[name] = self.new_database(name, rows, mix)
        return self._kept[name]

    def new_database(self, name: str, rows: int, mix: history.Mix) -> str:
        """The same of a database that is the caller's to drop."""
        url = self.postgres.create_database(name)
        migrations.upgrade(url)
        history.fill(dsn_of(url), rows, SEED, mix)
        return url

    @contextmanager
    def database(self, name: str = "one_run") -> Iterator[str]:
        """An empty database, dropped at the end."""
        self.postgres.drop_database(name)
        yield self.postgres.create_database(name)
        self.postgres.drop_database(name)

    @contextmanager
    def copy_of(self, url: str, name: str = "one_copy") -> Iterator[str]:
        """A copy of a database that nobody is connected to, dropped at the end."""
        self.postgres.drop_database(name)
        query(self.server, f"CREATE DATABASE {name} TEMPLATE {make_url(url).database} STRATEGY FILE_COPY")
        yield self.postgres.url(name)
        self.postgres.drop_database(name)

    @property
    def server(self) -> str:
        """The URL of the database that every server has: to ask about the others without being among them."""
        return self.postgres.url("postgres")

    def messages(self, queue: str) -> int:
        """How many messages wait in a queue of the broker, of any priority."""
        with Redis.from_url(self.valkey.url) as client:
            lists: Any = client.keys(f"{queue}*")
            return sum(int(str(client.llen(name))) for name in lists if client.type(name) == b"list")


def dsn_of(url: str) -> str:
    """A SQLAlchemy URL as libpq reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def query(url: str, statement: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement, committed at once; gives the rows, if it has any."""
    with psycopg.connect(dsn_of(url), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def staged(say: Callable[[str], None]) -> Iterator[Stage]:
    """Start the servers, and end them with all their data."""
    folder = Path(tempfile.mkdtemp(prefix="celery-jobs-benchmarks-"))
    # PostgreSQL runs as a user without rights where this is root, and the tasks of no peer write elsewhere.
    folder.chmod(0o755)
    try:
        with (
            start_valkey(folder / "valkey") as valkey,
            start_postgres(folder / "postgres", True, **SETTINGS) as postgres,
        ):
            yield Stage(valkey, postgres, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
