"""Real workers of tests/faults/shop.py on both databases; after each story the invariants hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from celery_jobs.store.db import Database
from tests.apps import make_app
from tests.processes import SOURCE, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """The jobs' database, which keeps the invariants."""
    db = Database(database_url)
    yield db
    assert invariants.check(db) == []
    db.dispose()


@pytest.fixture
def start(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers, `start(*arguments, **options of Worker)`, of tests/faults/shop.py or `app`; ends them all."""
    started: list[Worker] = []

    def new(*arguments: str, app: str = "tests.faults.shop:app", **options: Any) -> Worker:
        folder = tmp_path / f"worker-{len(started)}"
        folder.mkdir()
        options.setdefault("broker_url", broker_url)
        options["env"] = {"PYTHONPATH": str(SOURCE.parent)} | options.get("env", {})
        worker = Worker(app, folder, *arguments, database_url=database_url, **options)
        started.append(worker)
        return worker.__enter__().wait_ready()

    yield new
    for worker in started:
        worker.__exit__(None, None, None)


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    """The callers' app."""
    app = make_app(broker_url, database_url)
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def send(app: Celery) -> Callable[..., str]:
    """Enqueues a task of tests/faults by name, `send("shop.add", 1, 2)` or `send("add", 1, 2)`; gives the job's id."""

    def send(name: str, *args: Any) -> str:
        module, _, task = name.rpartition(".")
        return str(app.send_task(f"tests.faults.{module or 'shop'}.{task}", args).job_id)

    return send
