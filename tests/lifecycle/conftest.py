"""One shop with one worker process a database, shared by all stories; each story has job ids of its own."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from celery_jobs.store import invariants
from tests.apps import be_quiet
from tests.conftest import shared_broker, shared_database
from tests.lifecycle.shop import CONCURRENCY, SERVED, make_app
from tests.lifecycle.stories import Shop
from tests.processes import SOURCE, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


DATABASES = [
    pytest.param("postgresql", marks=pytest.mark.xdist_group("lifecycle-postgresql")),
    pytest.param("sqlite", marks=[pytest.mark.xdist_group("lifecycle-sqlite"), pytest.mark.matrix]),
]


@pytest.fixture(scope="package", params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="package")
def shop_folder(tmp_path_factory: pytest.TempPathFactory, database_kind: str) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp(f"shop-{database_kind}")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def database_url(request: pytest.FixtureRequest, database_kind: str, shop_folder: Path) -> Iterator[str]:
    """A migrated database for all stories."""
    with shared_database(request, database_kind, shop_folder) as url:
        yield url


@pytest.fixture(scope="package")
def broker_url(valkey: str, database_kind: str) -> str:
    """A broker, and result backend, for all stories."""
    return shared_broker(valkey, database_kind)


@pytest.fixture(scope="package")
def running_shop(broker_url: str, database_url: str, shop_folder: Path) -> Iterator[Shop]:
    app = make_app(broker_url, database_url)
    with Worker(
        "tests.lifecycle.worker:app",
        shop_folder,
        broker_url=broker_url,
        result_backend=broker_url,
        concurrency=CONCURRENCY,
        queues=SERVED,
        env={
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
            "SHOP_BROKER_URL": broker_url,
            "SHOP_DATABASE_URL": database_url,
        },
    ).wait_ready() as worker:
        yield Shop(app, worker, shop_folder)
    be_quiet(app)
    app.celery_jobs.db.dispose()
    app.backend.client.close()
    app.close()


@pytest.fixture(autouse=True)
def shop(running_shop: Shop) -> Iterator[Shop]:
    """The shop; after each story the store must hold its invariants."""
    yield running_shop
    assert invariants.check(running_shop.db) == []
