"""What the stories share: the shop with its running worker, and short ways to look at a chain."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete

from celery_jobs import JobNotFound, Jobs
from celery_jobs.store.db import now
from celery_jobs.store.tables import queues
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from celery import Celery

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job
    from tests.processes import Worker


@dataclass(frozen=True, slots=True)
class Shop:
    """An app, its jobs, and the worker that runs them."""

    app: Celery
    worker: Worker
    folder: Path

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.app)

    @property
    def db(self) -> Database:
        database: Database = self.app.celery_jobs.db
        return database

    def task(self, name: str) -> Any:
        return self.app.tasks[name]

    def enqueue(self, name: str, *args: Any, **options: Any) -> Any:
        """Enqueue a task as its users do; gives Celery's result."""
        return self.task(name).apply_async(args, **options)

    def new_file(self) -> Path:
        """A file that does not exist yet."""
        return self.folder / uuid.uuid4().hex

    @contextmanager
    def paused(self, queue: str) -> Iterator[None]:
        """Nothing of the queue is claimed or sent inside."""
        with self.db.transaction() as connection:
            connection.execute(self.db.insert(queues).values(name=queue, paused_at=now()))
        yield
        with self.db.transaction() as connection:
            connection.execute(delete(queues).where(queues.c.name == queue))

    def attempts(self, result: Any) -> list[Job]:
        """The rows of a chain, in order."""
        return self.jobs.get(result.id, attempts=True)

    def wait_for_text(self, file: Path, text: str) -> None:
        wait_until(lambda: file.exists() and text in file.read_text(), 10, f"no {text!r} was written", self.worker)

    def original(self, result: Any) -> Job:
        return self.attempts(result)[0]

    def ended(self, result: Any, timeout: float = 15) -> list[Job]:
        """The rows of a chain once it has its verdict."""
        return self.wait(result, lambda rows: rows[0].ended_at is not None, timeout)

    def failed_once(self, result: Any) -> list[Job]:
        """The rows of a chain once its first attempt has failed and the next one is there."""
        return self.wait(result, lambda rows: len(rows) > 1)

    def wait(self, result: Any, condition: Any, timeout: float = 15) -> list[Job]:
        """The rows of a chain once they fulfil a condition."""

        def look() -> list[Job]:
            try:
                rows = self.attempts(result)
            except JobNotFound:
                return []
            return rows if condition(rows) else []

        return wait_until(look, timeout, lambda: f"the chain stays at {verdicts(look_at(self, result))}", self.worker)


def look_at(shop: Shop, result: Any) -> list[Job]:
    try:
        return shop.attempts(result)
    except JobNotFound:
        return []


def verdicts(rows: list[Job]) -> list[tuple[str, str | None]]:
    """Status and final status of each attempt."""
    return [(row.status, row.final_status) for row in rows]


def seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    assert earlier is not None
    assert later is not None
    return (later - earlier).total_seconds()


def waits(rows: list[Job]) -> list[float]:
    """Seconds from the end of each attempt to the time that the next one is scheduled at."""
    return [round(seconds_between(before.finished_at, after.scheduled_at), 6) for before, after in pairwise(rows)]


def assert_dense(rows: list[Job]) -> None:
    """The rows are one chain: one original, one task id, attempts numbered from 1."""
    original = rows[0]
    assert [row.attempt_number for row in rows] == list(range(1, len(rows) + 1))
    assert [row.is_retry for row in rows] == [False] + [True] * (len(rows) - 1)
    assert {row.original_id for row in rows} == {original.id}
    assert {row.task_id for row in rows} == {original.task_id}
