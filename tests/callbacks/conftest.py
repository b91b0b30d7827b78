"""A shop, a receiver, and workers that are started where a story needs them."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.store import invariants
from tests.callbacks.receiver import Receiver
from tests.callbacks.shop import CONF, make_app
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job


class Shop:
    """An app, its jobs, and the workers that a story has started."""

    def __init__(self, stack: ExitStack, broker_url: str, database_url: str, folder: Path) -> None:
        self.stack = stack
        self.broker_url = broker_url
        self.database_url = database_url
        self.folder = folder
        self.app = make_app(broker_url, database_url)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.app)

    @property
    def db(self) -> Database:
        database: Database = self.app.celery_jobs.db
        return database

    def start_worker(self, *, pool: str = "prefork", concurrency: int = 2, **conf: Any) -> Worker:
        """A worker that is ready."""
        worker = Worker(
            "tests.callbacks.worker:app",
            self.folder,
            broker_url=self.broker_url,
            result_backend=self.broker_url,
            pool=pool,
            concurrency=concurrency,
            queues=conf.pop("queues", ()),
            env={
                "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
                "SHOP_BROKER_URL": self.broker_url,
                "SHOP_DATABASE_URL": self.database_url,
                CONF: json.dumps(conf),
            },
        )
        return self.stack.enter_context(worker).wait_ready()

    def enqueue(self, name: str, *args: Any, **options: Any) -> str:
        """The id of a new job."""
        return str(self.app.tasks[name].apply_async(args, **options).job_id)

    def settled(self, job_id: str, attempts: int = 1, timeout: float = 15) -> list[Job]:
        """The attempts of a run, once so many callbacks of it have been settled."""

        def look() -> list[Job]:
            rows = self.jobs.get(job_id, attempts=True)
            return rows if sum(row.callback_state in ("sent", "failed") for row in rows) >= attempts else []

        def states() -> str:
            return str([(row.status, row.callback_state) for row in self.jobs.get(job_id, attempts=True)])

        return wait_until(look, timeout, lambda: f"the callbacks stay at {states()}")


@pytest.fixture
def shop(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        shop = Shop(stack, broker_url, database_url, tmp_path)
        yield shop
        assert invariants.check(shop.db) == []
    shop.db.dispose()
    shop.app.backend.client.close()
    shop.app.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
