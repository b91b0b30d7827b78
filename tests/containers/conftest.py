"""pytest-celery's own setup, with celery-jobs in the app and in the worker, on the engine that engine.py chooses."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from celery import _state
from pytest_celery import (
    DEFAULT_WORKER_CONTAINER_TIMEOUT,
    DEFAULT_WORKER_VOLUME,
    CeleryTestBackend,
)
from pytest_docker_tools import build, container, fxtr

import celery_jobs
from celery_jobs.demo.valkey import ValkeyUnavailable, server_binary
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants, migrations
from celery_jobs.store.db import Database
from tests.containers.engine import Engine, chosen_engine, connected, patience
from tests.containers.stories import Story
from tests.containers.vendors import ROOT, SETTINGS, JobsDatabase, JobsWorkerContainer, PostgresContainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery
    from pytest_celery import CeleryTestSetup


@pytest.fixture(scope="session")
def docker_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What pytest-celery's containers are made with: processes, or Docker where it is asked for."""
    if chosen_engine() == "docker":
        with connected() as client:
            yield client
        return
    try:
        server_binary()
    except ValkeyUnavailable as error:
        pytest.skip(str(error))
    engine = Engine(tmp_path_factory.mktemp("engine"))
    with patience():
        yield engine
    engine.close()


@pytest.fixture(autouse=True)
def own_current_app() -> Iterator[None]:
    """pytest-celery makes its apps the current one: here not over tests."""
    before = getattr(_state._tls, "current_app", None)
    yield
    _state._tls.current_app = before


@pytest.fixture
def celery_broker(celery_redis_broker: Any) -> Any:
    """One broker: these stories are about Redis, whose messages are lost with it."""
    return celery_redis_broker


@pytest.fixture
def celery_backend(default_redis_backend: Any) -> Any:
    """The stock container as a plain node: Redis' own node, at its end, looks into every object of this process,
    and would wake the lazy tasks of other tests' apps.
    """
    return CeleryTestBackend(default_redis_backend)


@pytest.fixture
def story_settings() -> dict[str, Any]:
    """Celery's settings of one story, where it has its own."""
    return {}


@pytest.fixture
def jobs_database(request: pytest.FixtureRequest) -> JobsDatabase:
    """An empty jobs database: one SQLite file for all processes; PostgreSQL beside Docker's containers."""
    if chosen_engine() == "docker":
        database: JobsDatabase = request.getfixturevalue("jobs_postgres").database
        migrations.upgrade(database.url)
        return database
    new_database: Callable[[], str] = request.getfixturevalue("new_sqlite_database")
    url = new_database()
    return JobsDatabase(url, worker_url=url)


jobs_postgres = container(
    image=PostgresContainer.IMAGE,
    ports={PostgresContainer.PORT: None},
    environment=PostgresContainer.ENV,
    network="{default_pytest_celery_network.name}",
    wrapper_class=PostgresContainer,
    timeout=60,
)


@pytest.fixture
def celery_setup_app(
    celery_setup_app: Celery, jobs_database: JobsDatabase, story_settings: dict[str, Any]
) -> Iterator[Celery]:
    """The stock app with celery-jobs; its connections end with the test."""
    app = celery_setup_app
    # pytest-celery gives the worker what an app's configuration has been updated with.
    app.conf.update(SETTINGS | {"jobs_database_url": jobs_database.url} | story_settings)
    celery_jobs.install(app)
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def default_worker_container_cls() -> type[JobsWorkerContainer]:
    """The worker with our app and tasks."""
    return JobsWorkerContainer


@pytest.fixture
def default_worker_env(
    default_worker_container_cls: type[JobsWorkerContainer],
    celery_worker_cluster_config: dict[str, Any],
    jobs_database: JobsDatabase,
) -> dict[str, str]:
    """The stock environment, and where the worker finds the jobs' database."""
    ours = {"JOBS_DATABASE_URL": jobs_database.worker_url}
    env: dict[str, str] = default_worker_container_cls.initial_env(celery_worker_cluster_config, ours)
    return env


jobs_worker_image = build(
    path=str(ROOT),
    dockerfile="tests/containers/Dockerfile",
    tag="celery-jobs/tests/worker:latest",
    buildargs={"PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}"},
)

# As pytest-celery has it, from an image with this package.
default_worker_container = container(
    image="{jobs_worker_image.id}",
    ports=fxtr("default_worker_ports"),
    environment=fxtr("default_worker_env"),
    network="{default_pytest_celery_network.name}",
    volumes={"{default_worker_volume.name}": DEFAULT_WORKER_VOLUME},
    wrapper_class=JobsWorkerContainer,
    timeout=DEFAULT_WORKER_CONTAINER_TIMEOUT,
    command=fxtr("default_worker_command"),
)


@pytest.fixture
def db(jobs_database: JobsDatabase) -> Iterator[Database]:
    """The jobs' database; after each story it keeps the invariants."""
    db = Database(jobs_database.url)
    yield db
    assert invariants.check(db) == []
    db.dispose()


@pytest.fixture
def story(celery_setup: CeleryTestSetup, db: Database) -> Iterator[Story]:
    """A running setup, and what the stories do with it."""
    with closing(Story(celery_setup, db)) as story:
        yield story
