"""Servers for the tests: one Valkey and one PostgreSQL a pytest process, and what the run used of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import _state
from redis import Redis
from sqlalchemy import make_url

from celery_jobs.demo.valkey import ValkeyUnavailable, start_valkey
from celery_jobs.events import DETAILS, Event, subscribe, unsubscribe
from celery_jobs.store import postgresql
from tests.servers.databases import Databases
from tests.servers.pgbouncer import start_pgbouncer
from tests.servers.postgres import Postgres, ServerUnavailable, start_postgres
from tests.servers.rabbitmq import start_rabbitmq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = ["tests.hanging"]

REDIS_VARIABLE = "CELERY_JOBS_TEST_REDIS_URL"
POSTGRES_VARIABLE = "CELERY_JOBS_TEST_POSTGRES_URL"
RABBITMQ_VARIABLE = "CELERY_JOBS_TEST_RABBITMQ_URL"
MATRIX_VARIABLE = "CELERY_JOBS_TEST_MATRIX"

FIRST_SHARED_BROKER = 8
"""Its number, apart from the broker databases of other tests, which flush theirs; two for each xdist worker."""

POOLED_SESSIONS = 2
"""Of the server behind a pooler: fewer than a test has threads, so that they take turns on them."""

MEMORY_BYTES = 4 * 1024**3

# What the run used, by server, in plain words: collected here, shown at the end.
SERVERS = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def valkey(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of this pytest process's own broker database."""
    if given := os.environ.get(REDIS_VARIABLE):
        url = _own_broker_database(given)
        _note(pytestconfig, "Valkey", f"{_valkey_version(url)} from {REDIS_VARIABLE}")
        _leave_sockets_to(pytestconfig, url)
        yield url
        return
    folder = tmp_path_factory.mktemp("valkey")
    try:
        server = start_valkey(folder)
    except ValkeyUnavailable as error:
        _skip(pytestconfig, "Valkey", str(error))
    with server:
        _note(pytestconfig, "Valkey", f"{_valkey_version(server.url)}, started for the tests")
        _leave_sockets_to(pytestconfig, server.url)
        yield server.url
    shutil.rmtree(folder)


def _leave_sockets_to(config: pytest.Config, broker_url: str) -> None:
    """Celery has a client for each thread, which nobody closes: it is collected in the middle of another test."""
    port = make_url(broker_url).port or 6379
    config.addinivalue_line("filterwarnings", rf"ignore:unclosed <socket.*, {port}\)>:ResourceWarning")


@pytest.fixture(autouse=True)
def own_tasks() -> Iterator[None]:
    """Celery shares each app's tasks with every app made later in the process: here not over tests."""
    _keep_builtins()
    yield
    _keep_builtins()  # also of what a fixture of a module has imported, before this one had its turn


def _keep_builtins() -> None:
    """Forget the tasks that every app is to get, but for Celery's own."""
    others = [found for found in _state._on_app_finalizers if found.__module__ != "celery.app.builtins"]
    _state._on_app_finalizers.difference_update(others)


@pytest.fixture(scope="session", autouse=True)
def patient_servers() -> Iterator[None]:
    """The tests' own process may pause inside a transaction, their workers may not.

    Garbage of earlier tests takes its time: a Celery result whose broker is gone tries to reach it once more.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql, "FROZEN_CLIENT_MS", 60_000)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_deprecated_commands() -> Iterator[None]:
    """Celery's Redis backend calls what redis-py 8 has renamed: without its warning.

    A filter is no answer. pytest sets its filters anew for each test, `error` before any that ignores, and whatever a
    worker's thread calls in that moment is an error: a result that is not stored, or the worker's end.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("setex", "getset", "hmset"):
            owner = next(base for base in Redis.__mro__ if name in vars(base))
            command = getattr(owner, name)
            patch.setattr(owner, name, getattr(command, "__wrapped__", command))
        yield


@pytest.fixture(autouse=True)
def documented_events() -> Iterator[None]:
    """Whatever a test makes happen, each event has the details that its kind is documented to have."""
    wrong: list[Event] = []

    def check(event: Event) -> None:
        if set(event.details) != set(DETAILS.get(event.kind, ())):
            wrong.append(event)

    subscribe(check)
    yield
    unsubscribe(check)
    assert wrong == []


@pytest.fixture
def broker_url(valkey: str) -> str:
    """A broker, and result backend, with nothing in it."""
    with Redis.from_url(valkey) as client:
        client.flushdb()
    return valkey


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """A PostgreSQL server to create databases in."""
    if given := os.environ.get(POSTGRES_VARIABLE):
        databases = Databases(given)
        _note(pytestconfig, "PostgreSQL", f"{databases.version()} from {POSTGRES_VARIABLE}")
        yield databases
        return
    folder = Path(tempfile.mkdtemp(prefix="celery-jobs-postgres-", dir=_memory()))
    try:
        server = start_postgres(folder)
    except ServerUnavailable as error:
        shutil.rmtree(folder, ignore_errors=True)
        _skip(pytestconfig, "PostgreSQL", str(error))
    with server:
        _note(pytestconfig, "PostgreSQL", f"{server.version()}, started for the tests")
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of the module's own, to be stopped, killed and frozen."""
    try:
        server = start_postgres(tmp_path_factory.mktemp("postgres"), durable=True)
    except ServerUnavailable as error:
        pytest.skip(f"PostgreSQL is not available: {error}")
    with server:
        yield server


@pytest.fixture
def fragile_url(own_postgres: Postgres) -> Iterator[str]:
    """A fresh, migrated database on a server that the test may stop; the next test has the server running again."""
    url = own_postgres.create_database("fragile")
    _migrate(url)
    yield url
    if own_postgres.process.poll() is not None:
        own_postgres.start()
    own_postgres.drop_database("fragile")


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ node's URL."""
    if given := os.environ.get(RABBITMQ_VARIABLE):
        _note(pytestconfig, "RabbitMQ", f"from {RABBITMQ_VARIABLE}")
        yield given
        return
    folder = tmp_path_factory.mktemp("rabbitmq")
    try:
        with start_rabbitmq(folder) as url:
            _note(pytestconfig, "RabbitMQ", "started for the tests")
            yield url
    except ServerUnavailable as error:
        _skip(pytestconfig, "RabbitMQ", str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pooler(pytestconfig: pytest.Config, postgres: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PgBouncer in transaction mode before the tests' PostgreSQL."""
    try:
        with start_pgbouncer(tmp_path_factory.mktemp("pgbouncer"), postgres.server_url, POOLED_SESSIONS) as url:
            _note(pytestconfig, "PgBouncer", "started for the tests")
            yield url
    except ServerUnavailable as error:
        _skip(pytestconfig, "PgBouncer", str(error))


@contextmanager
def shared_database(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[str]:
    """A migrated database for many stories: a SQLite file in `folder`, or one of the tests' PostgreSQL."""
    if kind == "sqlite":
        file = folder / "jobs.sqlite3"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
        return
    databases: Databases = request.getfixturevalue("postgres")
    name = _database_name("shared")
    yield databases.create_database(name, request.getfixturevalue("postgresql_template"))
    databases.drop_database(name)


def shared_broker(valkey: str, kind: str) -> str:
    """A broker for many stories on a kind of database, apart from those that single tests flush."""
    xdist_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    number = FIRST_SHARED_BROKER + 2 * xdist_worker + (kind == "postgresql")
    url = make_url(valkey).set(database=str(number)).render_as_string(hide_password=False)
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database; the test runs once on SQLite and once on PostgreSQL."""
    new_database: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_database")
    url = new_database()
    yield url
    if request.param == "postgresql":
        databases: Databases = request.getfixturevalue("postgres")
        databases.drop_database(str(make_url(url).database))


@pytest.fixture(scope="session")
def sqlite_template(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A migrated SQLite file, to be copied."""
    folder = tmp_path_factory.mktemp("sqlite")
    file = folder / "template.sqlite3"
    _migrate(f"sqlite:///{file}")
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    _note(pytestconfig, "SQLite", sqlite3.sqlite_version)
    yield file
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_template(postgres: Databases) -> Iterator[str]:
    """The name of a migrated PostgreSQL database, to be copied."""
    name = _database_name("template")
    try:
        _migrate(postgres.create_database(name))
        yield name
    finally:
        postgres.drop_database(name)


@pytest.fixture
def new_sqlite_database(sqlite_template: Path, tmp_path: Path) -> Callable[[], str]:
    """Copies the migrated SQLite file and returns the copy's URL."""

    def new() -> str:
        file = tmp_path / "jobs.sqlite3"
        shutil.copyfile(sqlite_template, file)
        return f"sqlite:///{file}"

    return new


@pytest.fixture
def new_postgresql_database(postgres: Databases, postgresql_template: str) -> Callable[[], str]:
    """Copies the migrated PostgreSQL database and returns the copy's URL."""
    return lambda: postgres.create_database(_database_name("test"), postgresql_template)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    runs = os.environ.get(MATRIX_VARIABLE, "")
    for item in items:
        if item.get_closest_marker("matrix") is not None and runs not in ("1", "all"):
            item.add_marker(pytest.mark.skip(reason=f"runs with {MATRIX_VARIABLE}=1"))
        if item.get_closest_marker("whole_matrix") is not None and runs != "all":
            item.add_marker(pytest.mark.skip(reason=f"runs with {MATRIX_VARIABLE}=all"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what this xdist worker used to the process that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["celery_jobs_servers"] = session.config.stash[SERVERS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[SERVERS].update(getattr(node, "workeroutput", {}).get("celery_jobs_servers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if servers := config.stash[SERVERS]:
        terminalreporter.section("servers")
        for name in sorted(servers):
            terminalreporter.write_line(f"{name}: {servers[name]}")


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    """The events of a test, in their order."""
    events: list[Event] = []
    subscribe(events.append)
    yield events
    unsubscribe(events.append)


def _migrate(url: str) -> None:
    from celery_jobs.store import migrations

    migrations.upgrade(url)


def _memory() -> Path | None:
    """A file system in memory with room for servers: there a new database takes 20 ms, on a disk 200."""
    folder = Path("/dev/shm")
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= MEMORY_BYTES
    return folder if roomy else None


def _database_name(kind: str) -> str:
    """A name that no other test process uses, also not on a shared server."""
    return f"jobs_{kind}_{uuid.uuid4().hex[:16]}"


def _own_broker_database(given: str) -> str:
    """The given server's URL, with one database number for each xdist worker."""
    url = make_url(given)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = url.set(database=str(int(url.database or 0) + worker))
    return own.render_as_string(hide_password=False)


def _valkey_version(url: str) -> str:
    with Redis.from_url(url) as client:
        facts: Any = client.info("server")
    return str(facts.get("valkey_version") or f"(Redis) {facts['redis_version']}")


def _note(config: pytest.Config, server: str, words: str) -> None:
    config.stash[SERVERS][server] = words


def _skip(config: pytest.Config, server: str, reason: str) -> None:
    _note(config, server, f"not available, its tests were skipped: {reason}")
    pytest.skip(f"{server} is not available: {reason}")
