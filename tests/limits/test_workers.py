"""Real workers: a free place is taken at once, and that of a process that was killed is free."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants, reads
from tests.apps import be_quiet, make_app
from tests.limits.conftest import busiest, overlap
from tests.limits.shop import QUEUES
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

KEY: dict[str, Any] = {"concurrency_key": "customer", "concurrency_limit": 1}
AT_ONCE = 0.1
"""Seconds from the end of a job to the start of the next one of its key, with a worker idle (the contract's number)."""

PAIRS = 12
"""Measures, of which the best few count: others work on the machine too."""


class Shop:
    """Where jobs are sent from, and their workers."""

    def __init__(self, app: Celery, stack: ExitStack, folder: Path, **urls: str) -> None:
        self.app, self.db, self.folder = app, plugin_of(app).db, folder
        self._stack, self._urls, self._started = stack, urls, 0

    def worker(self, concurrency: int = 2) -> Worker:
        self._started += 1
        folder = self.folder / f"worker-{self._started}"
        folder.mkdir()
        env = {"PYTHONPATH": f"{SOURCE}{os.pathsep}{SOURCE.parent}"}
        queues = ["celery", "narrow", "slow"]
        options: dict[str, Any] = {**self._urls, "concurrency": concurrency, "queues": queues, "env": env}
        worker = self._stack.enter_context(Worker("tests.limits.shop:app", folder, **options))
        return worker.wait_ready(30)

    def send(self, name: str, *args: Any, **options: Any) -> str:
        return str(self.app.send_task(f"limited.{name}", args, **options).job_id)

    def row(self, job_id: str) -> Any:
        return reads.attempts(self.db, job_id)[-1]

    def await_status(self, job_id: str, status: str, worker: Worker) -> Any:
        def found() -> Any:
            row = self.row(job_id)
            return row if row.status == status else None

        return wait_until(found, 30, lambda: f"it stays {self.row(job_id)}", worker)


@pytest.fixture
def shop(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Shop]:
    app = make_app(broker_url, database_url, jobs_queues=QUEUES)
    with ExitStack() as stack:
        shop = Shop(app, stack, tmp_path, broker_url=broker_url, database_url=database_url)
        yield shop
        assert invariants.check(shop.db) == []
    be_quiet(app)
    shop.db.dispose()
    app.close()


def test_the_next_starts_within_a_tenth_of_a_second_of_a_free_place(shop: Shop) -> None:
    worker = shop.worker()
    ids = [shop.send("work", 0.1, **KEY) for _ in range(PAIRS)]
    rows = sorted((shop.await_status(job_id, "completed", worker) for job_id in ids), key=lambda row: row.started_at)
    assert overlap(rows) == 1
    assert {(row.losses, row.attempt_number) for row in rows} == {(0, 1)}
    waits = [(following.started_at - row.finished_at).total_seconds() for row, following in pairwise(rows)]
    assert sorted(waits)[len(waits) // 3] <= AT_ONCE, waits


@pytest.mark.parametrize("whole", [False, True], ids=["child", "worker"])
def test_the_place_of_a_killed_process_is_free(shop: Shop, whole: bool) -> None:
    gate = shop.folder / "gate"
    worker = shop.worker()
    first = shop.send("wait_for_file", str(gate), **KEY)
    shop.await_status(first, "processing", worker)
    second = shop.send("wait_for_file", str(gate), **KEY)
    wait_until(lambda: shop.row(second).waits_for == "key:customer", 15, process=worker)
    if whole:
        worker.kill()
        worker = shop.worker()
    else:
        _kill_the_runner(worker)
    wait_until(lambda: shop.row(first).losses == 1, 30, process=worker)
    gate.touch()
    rows = [shop.await_status(job_id, "completed", worker) for job_id in (first, second)]
    assert [row.losses for row in rows] == [1, 0]
    assert overlap(rows) == 1
    assert shop.row(second).send_count <= 2


def _kill_the_runner(worker: Worker) -> None:
    """Kill each child: one of them runs the job."""
    for child in worker.children():
        os.kill(child, signal.SIGKILL)


def test_workers_together_keep_the_limits_of_queues(shop: Shop) -> None:
    workers = [shop.worker(3), shop.worker(3)]
    narrow = [shop.send("work", 0.05, queue="narrow") for _ in range(12)]
    slow = [shop.send("work", 0, queue="slow") for _ in range(25)]
    rows = [shop.await_status(job_id, "completed", workers[0]) for job_id in (*narrow, *slow)]
    assert overlap(rows[:12]) == 2
    assert busiest(rows[12:], 1.0) <= 10
    assert {(row.losses, row.attempt_number) for row in rows} == {(0, 1)}
