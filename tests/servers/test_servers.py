from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from redis import Redis
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from celery_jobs.demo import valkey as valkey_module
from celery_jobs.demo.valkey import ValkeyUnavailable, start_valkey
from tests.processes import is_running, wait_until
from tests.servers import postgres as postgres_module
from tests.servers.postgres import Postgres, ServerUnavailable, start_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.databases import Databases


def test_valkey_answers_on_loopback_only(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server, Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


@pytest.mark.parametrize("crash", [False, True])
def test_valkey_with_persist_keeps_its_data_and_its_port(tmp_path: Path, crash: bool) -> None:
    with start_valkey(tmp_path, persist=True) as server:
        url = server.url
        _set(url, "kept")
        if crash:
            server.kill()
        server.restart()
        assert server.url == url
        assert _get(url) == b"kept"


def test_valkey_without_persist_forgets_and_leaves_no_data_file(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server:
        _set(server.url, "forgotten")
        server.restart()
        assert _get(server.url) is None
    assert [path.name for path in tmp_path.iterdir()] == ["valkey.log"]


def test_valkey_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from celery_jobs.demo.valkey import start_valkey\n"
        "print(start_valkey(Path(sys.argv[1])).process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    try:
        if sys.platform == "linux":
            wait_until(lambda: not is_running(server), message="the server outlives its parent")
    finally:
        if is_running(server):
            server.kill()


def test_a_taken_port_is_an_error_with_the_servers_words(tmp_path: Path) -> None:
    with (
        start_valkey(tmp_path / "first") as server,
        pytest.raises(ValkeyUnavailable, match="Address already in use"),
    ):
        start_valkey(tmp_path / "second", server.port)


def test_no_valkey_at_all_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_module, "_binary_in_wheel", lambda: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValkeyUnavailable, match=r"celery-jobs\[demo\]"):
        valkey_module.server_binary()


def test_each_test_gets_an_empty_broker(broker_url: str) -> None:
    with Redis.from_url(broker_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    try:
        server = start_postgres(tmp_path, durable=True)
    except ServerUnavailable as error:
        pytest.skip(f"PostgreSQL is not available: {error}")
    with server:
        yield server


def test_postgres_survives_a_crash_and_leaves_nothing(own_postgres: Postgres) -> None:
    url = own_postgres.create_database("kept")
    _execute(url, "CREATE TABLE words AS SELECT 'kept' AS word")
    own_postgres.kill()
    own_postgres.restart()
    assert _execute(url, "SELECT word FROM words") == "kept"
    assert _execute(url, "SHOW fsync") == "on"
    own_postgres.remove()
    assert not own_postgres.home.exists()
    assert own_postgres.process.returncode is not None


def test_postgres_copies_a_template(postgres: Databases) -> None:
    template = postgres.create_database("copy_template")
    _execute(template, "CREATE TABLE words AS SELECT 'copied' AS word")
    url = postgres.create_database("copy", "copy_template")
    assert _execute(url, "SELECT word FROM words") == "copied"
    postgres.drop_database("copy")
    postgres.drop_database("copy_template")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url.replace("+psycopg", ""))


def test_a_database_is_dropped_under_an_open_connection(postgres: Databases) -> None:
    url = postgres.create_database("in_use")
    with psycopg.connect(url.replace("+psycopg", "")):
        postgres.drop_database("in_use")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_postgres_as_root_copies_binaries_that_its_user_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    try:
        binaries = postgres_module._binaries()
    except ServerUnavailable as error:
        pytest.skip(f"PostgreSQL is not available: {error}")
    (closed / "pginstall").symlink_to(binaries.parent)
    monkeypatch.setattr(postgres_module, "_binaries", lambda: closed / "pginstall" / "bin")
    with start_postgres(tmp_path / "server") as server:
        assert server.binaries.is_relative_to(server.home)
        assert server.version()


def test_no_postgres_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for source in ("_in_wheel", "_on_path", "_of_debian"):
        monkeypatch.setattr(postgres_module, source, list)
    with pytest.raises(ServerUnavailable, match="CELERY_JOBS_TEST_POSTGRES_URL"):
        start_postgres(tmp_path)


def _set(url: str, value: str) -> None:
    with Redis.from_url(url) as client:
        client.set("word", value)


def _get(url: str) -> object:
    with Redis.from_url(url) as client:
        return client.get("word")


def _execute(url: str, statement: str) -> object:
    assert make_url(url).drivername == "postgresql+psycopg"
    with create_engine(url, poolclass=NullPool).begin() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None
