"""One worker of each pool and database for all its stories."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants, reads
from tests.apps import make_app
from tests.conftest import shared_broker, shared_database
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job

SHOP = "tests.pools.shop"

PLACES = {"prefork": 3, "threads": 4, "solo": 1, "gevent": 100, "eventlet": 100}
"""What a worker of each pool runs at once."""

GREEN = ("gevent", "eventlet")


@dataclass(frozen=True, slots=True)
class Shop:
    """A caller's app, and the worker of a pool that runs its jobs."""

    app: Celery
    pool: str
    folder: Path
    worker: Worker

    @property
    def places(self) -> int:
        return PLACES[self.pool]

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.app)

    @property
    def db(self) -> Database:
        return plugin_of(self.app).db

    def new_file(self) -> Path:
        """A file that does not exist yet."""
        return self.folder / uuid.uuid4().hex

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """A signature of a task of the shop."""
        return self.app.signature(f"{SHOP}.{name}", args, **options)

    def enqueue(self, name: str, *args: Any, **options: Any) -> Any:
        """Enqueue a task of the shop; gives Celery's result."""
        return self.app.send_task(f"{SHOP}.{name}", args, **options)

    def attempts(self, result: Any) -> list[Job]:
        return reads.attempts(self.db, result.job_id)

    def wait(self, result: Any, condition: Any) -> list[Job]:
        """The rows of a chain once they fulfil a condition."""
        return wait_until(
            lambda: (rows := self.attempts(result)) and condition(rows) and rows,
            20,
            lambda: f"the chain stays at {[(row.status, row.final_status) for row in self.attempts(result)]}",
            self.worker,
        )

    def ended(self, result: Any) -> list[Job]:
        """The rows of a chain once it has its verdict."""
        return self.wait(result, lambda rows: rows[0].ended_at is not None)


def start_worker(pool: str, folder: Path, broker_url: str, database_url: str, **options: Any) -> Worker:
    return Worker(
        f"{SHOP}:app",
        folder,
        broker_url=broker_url,
        database_url=database_url,
        pool=pool,
        env={"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
        **{"concurrency": PLACES[pool], **options},
    )


def variants() -> Iterator[Any]:
    """Each pool on each database; plain pytest runs the greenlets on PostgreSQL, CI all of them."""
    for pool in PLACES:
        for database in ("postgresql", "sqlite"):
            name = f"{pool}-{database}"
            marks = [pytest.mark.xdist_group(f"pools-{name}")]
            if name != "gevent-postgresql":
                marks.append(pytest.mark.matrix)
            yield pytest.param((pool, database), marks=marks, id=name)


@pytest.fixture(scope="package", params=variants())
def variant(request: pytest.FixtureRequest) -> tuple[str, str]:
    pool, database = request.param
    importing(pool)
    return pool, database


def importing(pool: str) -> None:
    """Skip where the package of a pool cannot be imported."""
    if pool in GREEN:
        pytest.importorskip(pool, exc_type=ImportError)


@pytest.fixture(scope="package")
def running_shop(
    request: pytest.FixtureRequest, variant: tuple[str, str], valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    pool, database = variant
    folder = tmp_path_factory.mktemp(f"pools-{pool}-{database}")
    broker_url = shared_broker(valkey, database)
    with shared_database(request, database, folder) as database_url:
        app = make_app(broker_url, database_url, jobs_http_allowed_addresses=["127.0.0.0/8"])
        with start_worker(pool, folder, broker_url, database_url) as worker:
            yield Shop(app, pool, folder, worker.wait_ready())
        plugin_of(app).unchecked_db.dispose()
        app.backend.client.close()
        app.close()
    shutil.rmtree(folder)


@pytest.fixture
def shop(running_shop: Shop) -> Iterator[Shop]:
    """The shop; after each story the store must hold its invariants."""
    yield running_shop
    assert invariants.check(running_shop.db) == []
