"""A database without room or connections, or that takes no writes: callers hear what is wrong, nothing is lost."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from redis import Redis
from sqlalchemy import event

from celery_jobs import StoreUnavailable
from celery_jobs.events import Event, Kind, subscribe, unsubscribe
from celery_jobs.store import attempts, migrations
from celery_jobs.store.db import Database
from tests.faults.office import Office, a_job_that_ends_meanwhile, let_it_end
from tests.processes import wait_until
from tests.servers.postgres import UNPRIVILEGED, Postgres, ServerUnavailable, start_postgres
from tests.store.conftest import begin, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

MOST_CONNECTIONS = 20
DISK_BYTES = 64 * 1024**2
LARGE = 60_000
"""Letters of an argument or a result for which a full database has no corner left."""

SETTINGS: dict[str, Any] = {"jobs_database_timeout": 2}


def tell(url: str, statement: str) -> None:
    """Let a server's master do something outside any transaction."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(statement.encode())


def assert_refused(office: Office, words: str, *args: str) -> None:
    """An enqueue says what is wrong within 3 s, and sends nothing."""
    with Redis.from_url(office.broker_url) as client:
        before = client.llen("celery")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=words):
            office.send("note", *args)
        assert time.monotonic() - started < 3
        assert client.llen("celery") == before


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Postgres]:
    """A PostgreSQL that takes few connections."""
    try:
        server = start_postgres(tmp_path / "postgres", max_connections=str(MOST_CONNECTIONS))
    except ServerUnavailable as error:
        pytest.skip(f"PostgreSQL is not available: {error}")
    with server:
        migrations.upgrade(server.create_database("jobs"))
        yield server


@contextmanager
def crowd(server: Postgres) -> Iterator[None]:
    """Every connection is taken by others, also those that the plugin had."""
    with psycopg.connect(server.server_url, autocommit=True) as master:
        taken = [master]

        def take() -> bool:
            master.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'celery-jobs'"
            )
            with suppress(psycopg.OperationalError):
                while True:
                    taken.append(psycopg.connect(server.server_url))
            return len(taken) == MOST_CONNECTIONS

        try:
            wait_until(take, message=lambda: f"others have {len(taken)} connections of {MOST_CONNECTIONS}")
            yield
        finally:
            for connection in taken:
                connection.close()


@pytest.mark.matrix
def test_where_no_connection_is_left_callers_hear_it_and_workers_wait(
    crowded: Postgres, broker_url: str, tmp_path: Path
) -> None:
    with Office(broker_url, crowded.url("jobs"), tmp_path, **SETTINGS) as office:
        with crowd(crowded):  # before this process has ever been connected
            assert_refused(office, "too many clients", "never", str(tmp_path / "notes"))
        with a_job_that_ends_meanwhile(office, tmp_path), crowd(crowded):
            assert_refused(office, "too many clients", "never", str(tmp_path / "notes"))
            let_it_end(office, tmp_path)
            late = office.worker(concurrency=1, ready=False)
            wait_until(lambda: "too many clients" in late.log, process=late)
        late.wait_ready()
        assert (tmp_path / "notes").read_text().split() == ["next"]


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk so small that a test can fill it."""
    folder = Path(tempfile.mkdtemp(prefix="celery-jobs-disk-"))
    folder.chmod(0o755)
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "celery-jobs-test", str(place)]
    try:
        if os.geteuid() != 0:
            pytest.skip("only root can mount a disk that is small enough to be filled")
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a disk that is small enough to be filled cannot be mounted here: {done.stderr.strip()}")
        yield place
        subprocess.run(["umount", "-l", str(place)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Another program has left no byte on the disk."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
    finally:
        filler.unlink()


@pytest.fixture(params=["sqlite", "postgresql"])
def on_disk(request: pytest.FixtureRequest, disk: Path) -> Iterator[str]:
    """The URL of a migrated database with its tables on the small disk."""
    if request.param == "sqlite":
        url = f"sqlite:///{disk / 'jobs.sqlite3'}"
        migrations.upgrade(url)
        yield url
        return
    server: Postgres = request.getfixturevalue("own_postgres")
    shutil.chown(disk, UNPRIVILEGED)
    tell(server.server_url, f"CREATE TABLESPACE small LOCATION '{disk}'")
    tell(server.server_url, "CREATE DATABASE small TABLESPACE small")
    migrations.upgrade(server.url("small"))
    yield server.url("small")
    server.drop_database("small")
    tell(server.server_url, "DROP TABLESPACE small")


def empty_log(disk: Path) -> None:
    """SQLite writes over what its log has held: only a new log needs room on the disk."""
    with closing(sqlite3.connect(disk / "jobs.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_where_the_disk_is_full_callers_hear_it_and_an_outcome_waits_for_room(
    on_disk: str, disk: Path, broker_url: str, tmp_path: Path
) -> None:
    with (
        Office(broker_url, on_disk, tmp_path, **SETTINGS) as office,
        a_job_that_ends_meanwhile(office, tmp_path, LARGE),
    ):
        if office.db.is_sqlite:
            empty_log(disk)
        with filled(disk):
            assert_refused(office, "is full: .*(No space left on device|disk is full)", secrets.token_hex(LARGE))
            let_it_end(office, tmp_path)


def test_a_server_that_takes_no_writes_says_so_and_is_waited_for(
    own_postgres: Postgres, fragile_url: str, broker_url: str, tmp_path: Path
) -> None:
    """As a standby does after a failover, or a server whose keeper has found its disk almost full."""
    with (
        Office(broker_url, fragile_url, tmp_path, **SETTINGS) as office,
        a_job_that_ends_meanwhile(office, tmp_path),
        read_only(own_postgres),
    ):
        assert_refused(office, "takes no writes: .*read-only transaction", "never")
        let_it_end(office, tmp_path)


@contextmanager
def read_only(server: Postgres) -> Iterator[None]:
    """The server takes no writes, over connections that are up neither."""
    tell(server.server_url, "ALTER SYSTEM SET default_transaction_read_only = on")
    tell(server.server_url, "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        tell(server.server_url, "ALTER SYSTEM RESET default_transaction_read_only")
        tell(server.server_url, "SELECT pg_reload_conf()")


@contextmanager
def at_the_first_wait(act: Callable[[], object]) -> Iterator[list[str]]:
    """Do something when somebody first waits for the database; gives what was said of each wait."""
    heard: list[str] = []

    def hear(event: Event) -> None:
        if event.kind == Kind.STORE_UNAVAILABLE:
            heard.append(str(event.details["error"]))
            if len(heard) == 1:
                act()

    subscribe(hear)
    try:
        yield heard
    finally:
        unsubscribe(hear)


CANNOT_NOW = {
    "53100": "disk_full",
    "53200": "out_of_memory",
    "58030": "io_error",
    "25006": "read_only_sql_transaction",
    "XX000": "internal_error: a quota of the file system",
    "57014": "query_canceled",
    "55P03": "lock_not_available",
    "40001": "serialization_failure",
}


@pytest.mark.parametrize("code", CANNOT_NOW)
def test_what_a_server_cannot_do_now_is_a_typed_error_and_an_outcome_waits_until_it_can(
    new_postgresql_database: Callable[[], str], code: str
) -> None:
    url = new_postgresql_database()
    db = Database(url)
    job = begin(db)
    tell(
        url,
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END $$;
        CREATE TRIGGER refusing BEFORE INSERT OR UPDATE ON jobs EXECUTE FUNCTION refuse();
        """,
    )
    with pytest.raises(StoreUnavailable, match="not now"):
        store(db)
    with at_the_first_wait(lambda: tell(url, "DROP TRIGGER refusing ON jobs")) as heard:
        assert attempts.complete(db, job, None, 5)
    assert len(heard) == 1
    assert "not now" in heard[0]
    db.dispose()


def test_a_sqlite_file_that_cannot_grow_is_full_until_it_can(new_sqlite_database: Callable[[], str]) -> None:
    db = Database(new_sqlite_database())
    most = [1]  # pages: the file keeps those that it has

    @event.listens_for(db.engine, "checkout")
    def limit(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {most[0]}")

    most[0] = 10**6
    job = begin(db)
    most[0] = 1
    with pytest.raises(StoreUnavailable, match="is full"):
        store(db, args=[secrets.token_hex(LARGE)])
    with at_the_first_wait(lambda: most.__setitem__(0, 10**6)) as heard:
        assert attempts.complete(db, job, secrets.token_hex(LARGE), 5)
    assert len(heard) == 1
    assert "is full" in heard[0]
    db.dispose()
