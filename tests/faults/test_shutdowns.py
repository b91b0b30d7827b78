"""Workers that are told to end at once: what they abandon is pending again, nothing burnt, and runs on the next."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.faults.shop import settings
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery

    from celery_jobs import Run
    from tests.processes import Worker

    NewWorker = Callable[..., Worker]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("db")]

PATIENCE = 1.0
"""Seconds of a soft shutdown."""


class Task:
    """A job that waits for its gate and notes each of its starts."""

    def __init__(self, app: Celery, folder: Path, name: str) -> None:
        self.app = app
        self.gate = folder / f"{name}-gate"
        self.started = folder / f"{name}-started"
        self.result: Any = app.send_task("tests.faults.shop.wait_for_file", (str(self.gate), str(self.started)))

    @property
    def starts(self) -> int:
        return len(self.started.read_text().split()) if self.started.exists() else 0

    @property
    def run(self) -> Run:
        return Jobs(self.app).get(self.result.id)

    def is_unburnt(self) -> bool:
        run = self.run
        return (run.status, run.attempt_number, run.losses) == ("pending", 1, 0)

    def ends_well(self, worker: Worker, starts: int | None = None) -> None:
        """It ends as a success of its first attempt, after so many starts, and its caller hears of it."""
        assert self.result.get(timeout=40) == "done"
        run = wait_until(lambda: (run := self.run).has_ended and run, process=worker)
        assert (run.final_status, run.attempt_number, run.losses) == ("success", 1, 0)
        assert starts in (None, self.starts)


@pytest.fixture
def database_url(new_postgresql_database: Callable[[], str]) -> str:
    """One database: a cold shutdown on both is told in tests/faults/test_workers.py."""
    return new_postgresql_database()


def wait_running(worker: Worker, *tasks: Task) -> None:
    wait_until(lambda: all(task.starts for task in tasks), process=worker)


@pytest.mark.parametrize(
    "late", [pytest.param(False, id="early", marks=pytest.mark.matrix), pytest.param(True, id="late")]
)
def test_a_soft_shutdown_finishes_what_is_quick_and_gives_back_the_rest_unburnt(
    app: Celery, start: NewWorker, tmp_path: Path, late: bool
) -> None:
    env = settings(worker_soft_shutdown_timeout=PATIENCE, task_acks_late=late)
    worker = start(concurrency=2, env=env)
    quick, long = Task(app, tmp_path, "quick"), Task(app, tmp_path, "long")
    wait_running(worker, quick, long)
    waiting = fetched(worker, app, tmp_path)
    worker.signal(signal.SIGQUIT)
    wait_until(lambda: "Initiating Soft Shutdown" in worker.log, process=worker)
    quick.gate.touch()
    worker.wait_ended()
    assert long.is_unburnt()
    for task in (long, waiting):
        task.gate.touch()
    following = start(concurrency=2, env=env)
    quick.ends_well(following, starts=1)
    long.ends_well(following, starts=2)
    waiting.ends_well(following)


@pytest.mark.matrix
def test_a_second_term_changes_nothing_and_a_quit_after_it_gives_back_what_runs(
    app: Celery, start: NewWorker, tmp_path: Path
) -> None:
    worker = start(concurrency=2, env=settings())
    quick, long = Task(app, tmp_path, "quick"), Task(app, tmp_path, "long")
    wait_running(worker, quick, long)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.log.count("Warm shutdown") == 1, process=worker)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.log.count("Warm shutdown") == 2, process=worker)
    quick.gate.touch()
    wait_until(lambda: quick.run.has_ended, process=worker)
    assert long.run.status == "processing"
    worker.signal(signal.SIGQUIT)
    worker.wait_ended()
    assert long.is_unburnt()
    long.gate.touch()
    following = start(env=settings())
    quick.ends_well(following, starts=1)
    long.ends_well(following, starts=2)


@pytest.mark.matrix
@pytest.mark.parametrize(("pool", "patience"), [("threads", 0), ("threads", PATIENCE), ("solo", 0)])
def test_a_pool_that_cannot_stop_a_task_lets_it_end_and_loses_nothing_that_waits(
    app: Celery, start: NewWorker, tmp_path: Path, pool: str, patience: float
) -> None:
    worker = start(pool=pool, env=settings(worker_soft_shutdown_timeout=patience))
    task = Task(app, tmp_path, "task")
    wait_running(worker, task)
    waiting = fetched(worker, app, tmp_path) if pool == "threads" else Task(app, tmp_path, "waiting")
    worker.signal(signal.SIGQUIT)
    wait_until(lambda: "Hitting Ctrl+C again" in worker.log, process=worker)
    for opened in (task, waiting):  # the thread that is free takes what waits, unless it was taken back before
        opened.gate.touch()
    worker.wait_ended()
    following = start(pool=pool, env=settings())
    task.ends_well(following, starts=1)
    waiting.ends_well(following, starts=1)


def fetched(worker: Worker, app: Celery, folder: Path) -> Task:
    """A task that the worker has fetched, given to its pool and not begun: all its processes are busy.

    A signal that meets Celery's main thread while it gives a task to its threads stops the worker for good: the handler
    shuts the executor down, whose lock the interrupted submit holds. A worker that answers is not in the midst of one.
    """
    before = worker.log.count(" received")
    task = Task(app, folder, "waiting")
    wait_until(lambda: worker.log.count(" received") > before, process=worker)
    assert app.control.broadcast("ping", reply=True, limit=1, timeout=40)
    return task
