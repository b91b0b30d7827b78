"""What the doctor finds at the jobs database."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url, text

from celery_jobs import Jobs, doctor
from celery_jobs.demo.valkey import free_port
from celery_jobs.doctor import database
from celery_jobs.errors import StoreUnavailable
from celery_jobs.store import migrations
from tests.doctor.conftest import ask
from tests.processes import wait_until
from tests.servers.postgres import ServerUnavailable, start_postgres
from tests.store.conftest import change, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.plugin import Plugin
    from tests.servers.databases import Databases
    from tests.servers.postgres import Postgres

POSTGRES_ONLY = ("fsync-off", "synchronous-commit-off", "clock-differs", "database-without-tls")


@pytest.fixture
def empty(postgres: Databases) -> Iterator[str]:
    """A database without tables."""
    name = f"jobs_doctor_{os.getpid()}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def on_postgres(make: Callable[..., Plugin], new_postgresql_database: Callable[[], str]) -> Plugin:
    return make(database_url=new_postgresql_database())


@pytest.fixture
def durable() -> Iterator[Postgres]:
    """A server as one is installed."""
    folder = Path(tempfile.mkdtemp(prefix="celery-jobs-doctor-"))
    try:
        server = start_postgres(folder, durable=True)
    except ServerUnavailable as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(str(error))
    with server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


def sql(url: str, statement: str) -> None:
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False), autocommit=True) as asked:
        asked.execute(statement.encode())


def test_a_database_without_tables_is_the_one_thing_found_of_it(make: Callable[..., Plugin], empty: str) -> None:
    plugin = make(database_url=empty)
    (finding,) = doctor.examine(plugin)
    assert (finding.severity, finding.check) == ("error", "schema-outdated")
    assert "jobs migrate" in finding.advice
    migrations.upgrade(empty)
    assert ask(plugin, "schema-outdated") == []


def test_an_older_schema(on_postgres: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "VERSIONS", (*migrations.VERSIONS, "9999"))
    (finding,) = ask(on_postgres, "schema-outdated")
    assert migrations.HEAD in finding.words


def test_a_newer_schema(plugin: Plugin) -> None:
    assert ask(plugin, "schema-newer") == []
    with plugin.db.transaction() as connection:
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    assert ask(plugin, "schema-outdated") == []
    assert [finding.severity for finding in ask(plugin, "schema-newer")] == ["info"]


def test_a_sqlite_file_that_is_not_there_is_made(make: Callable[..., Plugin], tmp_path: Path) -> None:
    assert ask(make(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), "schema-outdated") == []


def test_a_broken_invariant(plugin: Plugin) -> None:
    job = store(plugin.db)
    assert ask(plugin, "invariant-broken") == []
    change(plugin.db, job, is_retry=True)
    (finding,) = (found for found in Jobs(plugin.app).examine() if found.check == "invariant-broken")
    assert finding.severity == "error"
    assert f"job {job} breaks invariant 2" in finding.words
    assert len(Jobs(plugin.app).check()) == 1


def test_a_server_without_fsync(durable: Postgres, make: Callable[..., Plugin]) -> None:
    url = durable.create_database("jobs")
    migrations.upgrade(url)
    plugin = make(database_url=url)
    assert ask(plugin, "fsync-off") == ask(plugin, "synchronous-commit-off") == []
    sql(url, "ALTER SYSTEM SET fsync = off")
    sql(url, "SELECT pg_reload_conf()")
    wait_until(lambda: [finding.severity for finding in ask(plugin, "fsync-off")] == ["warning"])
    plugin.db.dispose()


@pytest.mark.parametrize(("setting", "found"), [("off", 1), ("on", 0), ("local", 0)])
def test_commits_that_wait_for_no_disk(on_postgres: Plugin, setting: str, found: int) -> None:
    url = on_postgres.db.url
    name = url.database
    sql(url.render_as_string(False), f'ALTER DATABASE "{name}" SET synchronous_commit = {setting}')
    on_postgres.db.dispose()
    assert len(ask(on_postgres, "synchronous-commit-off")) == found


@pytest.mark.parametrize(("seconds", "found"), [(0, 0), (1, 0), (-1, 0), (10, 1), (-10, 1)])
def test_clocks_that_differ(on_postgres: Plugin, monkeypatch: pytest.MonkeyPatch, seconds: float, found: int) -> None:
    monkeypatch.setattr(database, "_machine_time", lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    assert len(ask(on_postgres, "clock-differs")) == found


@pytest.mark.parametrize(("remote", "found"), [(True, 1), (False, 0)])
def test_a_database_elsewhere_without_tls(
    on_postgres: Plugin, monkeypatch: pytest.MonkeyPatch, remote: bool, found: int
) -> None:
    monkeypatch.setattr(database, "is_remote", lambda address: remote and address == "127.0.0.1")
    assert len(ask(on_postgres, "database-without-tls")) == found


def test_sqlite_has_nothing_of_postgresql(make: Callable[..., Plugin], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_machine_time", lambda: datetime.now(UTC) + timedelta(hours=1))
    monkeypatch.setattr(database, "is_remote", lambda address: True)
    plugin = make()
    assert [ask(plugin, name) for name in POSTGRES_ONLY] == [[], [], [], []]


def test_a_check_that_fails_is_a_finding(on_postgres: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: str) -> bool:
        raise RuntimeError("no resolver")

    monkeypatch.setattr(database, "is_remote", fail)
    (finding,) = ask(on_postgres, "database-without-tls")
    assert (finding.severity, finding.words) == ("warning", "could not look: RuntimeError: no resolver")


def test_a_database_that_is_away_is_an_error(make: Callable[..., Plugin]) -> None:
    plugin = make(database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/jobs")
    with pytest.raises(StoreUnavailable):
        doctor.examine(plugin)


def test_the_worst_comes_first(make: Callable[..., Plugin]) -> None:
    plugin = make(jobs_queue_defaults={"retries_enabled": False}, accept_content=["pickle"])
    found = doctor.examine(plugin)
    assert [finding.severity for finding in found] == ["error", "warning", "info"]
    assert set(found[0].to_json()) == {"severity", "check", "words", "advice"}
