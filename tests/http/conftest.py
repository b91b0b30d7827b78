"""One worker process a database for all stories of HTTP jobs."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from celery.app.task import Task

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.conftest import shared_broker, shared_database
from tests.http.shop import QUEUES, make_app, naps
from tests.processes import SOURCE, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from celery_jobs.testing import Sandbox


@pytest.fixture(
    scope="package",
    params=[
        pytest.param("postgresql", marks=pytest.mark.xdist_group("http-postgresql")),
        pytest.param("sqlite", marks=[pytest.mark.xdist_group("http-sqlite"), pytest.mark.matrix]),
    ],
)
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="package")
def shop_folder(tmp_path_factory: pytest.TempPathFactory, database_kind: str) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp(f"http-{database_kind}")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def shop_database(request: pytest.FixtureRequest, database_kind: str, shop_folder: Path) -> Iterator[str]:
    with shared_database(request, database_kind, shop_folder) as url:
        yield url


@pytest.fixture(scope="package")
def shop_broker(valkey: str, database_kind: str) -> str:
    return shared_broker(valkey, database_kind)


@pytest.fixture(scope="package")
def running_shop(shop_broker: str, shop_database: str, shop_folder: Path) -> Iterator[Celery]:
    app = make_app(shop_broker, shop_database)
    with Worker(
        "tests.http.shop:app",
        shop_folder,
        broker_url=shop_broker,
        result_backend=shop_broker,
        concurrency=3,
        queues=["celery", *QUEUES],
        env={
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
            "SHOP_BROKER_URL": shop_broker,
            "SHOP_DATABASE_URL": shop_database,
        },
    ).wait_ready():
        yield app
    plugin_of(app).unchecked_db.dispose()
    app.backend.client.close()
    app.close()


@pytest.fixture
def shop(running_shop: Celery) -> Iterator[Celery]:
    """The app, with a worker; after each story the store must hold its invariants."""
    yield running_shop
    assert invariants.check(plugin_of(running_shop).db) == []


@pytest.fixture
def jobs(shop: Celery) -> Jobs:
    return Jobs(shop)


@pytest.fixture
def app() -> Iterator[Celery]:
    """The app for a sandbox: it has no servers, and a task besides that is no job."""
    app = make_app("redis://127.0.0.1:1/0", "sqlite:////nowhere/jobs.sqlite3")
    app.task(name="plain", base=Task, shared=False)(naps)
    yield app
    app.close()


@pytest.fixture
def sandbox(app: Celery, jobs_sandbox: Callable[[Celery], Sandbox]) -> Sandbox:
    return jobs_sandbox(app)
