"""Tasks that end their process, or try to: every attempt has its end, the worker goes on, the caller hears of it.

All stories of a database are begun at once, on a worker for each pool.
"""

from __future__ import annotations

import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import WorkerLostError
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.apps import make_app
from tests.conftest import shared_database
from tests.faults.shop import MIB, settings
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs import Run

pytestmark = pytest.mark.slow

KINDS = [
    pytest.param("postgresql", marks=pytest.mark.xdist_group("exits-postgresql")),
    pytest.param("sqlite", marks=[pytest.mark.xdist_group("exits-sqlite"), pytest.mark.matrix]),
]

POOLS = {"prefork": 4, "threads": 4, "solo": 1}
"""How many tasks at once."""

EXITS = ("sys.exit", "KeyboardInterrupt", "CancelledError")
"""What a task can raise that is no Exception."""

CRASHES = ("os._exit", "os.abort", "SIGSEGV")
"""How a task can end its process without a word."""

ENDS = [*((pool, way) for pool in POOLS for way in EXITS), *(("prefork", way) for way in CRASHES)]

ALWAYS = 99
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Story:
    """A job, and the file with a mark for each of its runs."""

    result: Any
    file: Path

    @property
    def runs(self) -> int:
        return len(self.file.read_text().split())


class Stage:
    """The workers, and their stories by pool, way, and how often the task ends in it."""

    def __init__(self, app: Celery, workers: dict[str, Worker], folder: Path, group: Path | None) -> None:
        self.app = app
        self.workers = workers
        self.folder = folder
        self.stories: dict[tuple[str, str, int], Story] = {}
        for pool in POOLS:
            self.begin(pool, "MemoryError", ALWAYS)
        for times in (1, ALWAYS):
            for pool, way in (*ENDS, ("prefork", "RLIMIT_AS")):
                self.begin(pool, way, times)
        self.begin("prefork", "eats", ALWAYS, None if group is None else str(group))

    def begin(self, pool: str, way: str, times: int, *arguments: Any) -> None:
        file = self.folder / f"{pool}-{way}-{times}"
        name, args = ("eats", (*arguments, str(file))) if way == "eats" else ("ends", (way, str(file), times))
        self.stories[pool, way, times] = Story(self.app.send_task(f"tests.faults.shop.{name}", args, queue=pool), file)

    def ended(self, pool: str, way: str, times: int) -> tuple[Run, Story]:
        """A chain, once it has its verdict."""
        story = self.stories[pool, way, times]
        worker = self.workers[pool]
        jobs = Jobs(self.app)
        return wait_until(lambda: (run := jobs.get(story.result.id)).has_ended and run, 30, process=worker), story


@pytest.fixture(scope="module", params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database for all stories of the module."""
    with shared_database(request, str(request.param), tmp_path_factory.mktemp("exits")) as url:
        yield url


@pytest.fixture(scope="module")
def small_group() -> Iterator[Path | None]:
    """A control group whose processes have 64 MiB together; None where this process may not make one."""
    group = make_group(64 * MIB)
    yield group
    if group is not None:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def make_group(limit: int) -> Path | None:
    """A control group for so many bytes of memory, of either version of control groups."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root, f"celery-jobs-{uuid.uuid4().hex}")
        if not os.access(root, os.W_OK) or not Path(root, "cgroup.procs").exists():
            continue
        group.mkdir()
        if (group / name).exists():
            (group / name).write_text(str(limit))
            return group
        group.rmdir()
    return None


@pytest.fixture(scope="module")
def running(
    valkey: str, database_url: str, tmp_path_factory: pytest.TempPathFactory, small_group: Path | None
) -> Iterator[Stage]:
    """A worker for each pool, and every story begun."""
    with Redis.from_url(valkey) as client:
        client.flushdb()
    app = make_app(valkey, database_url)
    folder = tmp_path_factory.mktemp("stories")
    with ExitStack() as stack:
        workers = {pool: stack.enter_context(worker(pool, folder, valkey, database_url)) for pool in POOLS}
        for started in workers.values():
            started.wait_ready(60)  # three at once, perhaps on a busy machine
        yield Stage(app, workers, folder, small_group)
    plugin_of(app).unchecked_db.dispose()
    app.close()


def worker(pool: str, folder: Path, broker_url: str, database_url: str) -> Worker:
    return Worker(
        "tests.faults.shop:app",
        folder,
        broker_url=broker_url,
        database_url=database_url,
        pool=pool,
        concurrency=POOLS[pool],
        queues=[pool],
        env={"PYTHONPATH": str(SOURCE.parent)} | settings(),
    )


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    """The stage; after each story the database keeps its invariants."""
    yield running
    assert invariants.check(plugin_of(running.app).db) == []


@pytest.mark.parametrize(("pool", "way"), ENDS)
def test_a_task_that_ends_its_process_each_time_is_dead_lettered_after_three_losses(
    stage: Stage, pool: str, way: str
) -> None:
    run, story = stage.ended(pool, way, ALWAYS)
    assert (run.final_status, run.failure_reason, run.losses) == ("dead_lettered", "worker_lost", 3)
    assert (run.attempt_number, story.runs) == (1, 3)
    with pytest.raises(WorkerLostError):
        story.result.get(timeout=40)


@pytest.mark.parametrize(("pool", "way"), ENDS)
def test_a_task_that_ends_its_process_once_runs_again_as_the_same_attempt(stage: Stage, pool: str, way: str) -> None:
    run, story = stage.ended(pool, way, 1)
    assert (run.final_status, run.attempt_number, run.losses) == ("success", 1, 1)
    assert story.result.get(timeout=40) == 2


@pytest.mark.parametrize(("pool", "way"), [*((pool, "MemoryError") for pool in POOLS), ("prefork", "RLIMIT_AS")])
def test_a_task_that_gets_no_memory_fails_as_by_any_exception(stage: Stage, pool: str, way: str) -> None:
    run, story = stage.ended(pool, way, ALWAYS)
    assert (run.final_status, run.failure_reason, run.losses) == ("dead_lettered", "exception", 0)
    assert (run.error_type, story.runs) == ("MemoryError", ATTEMPTS)
    with pytest.raises(MemoryError):
        story.result.get(timeout=40)


def test_a_task_that_got_no_memory_once_is_retried(stage: Stage) -> None:
    run, story = stage.ended("prefork", "RLIMIT_AS", 1)
    assert [job.failure_reason for job in run.attempts] == ["exception", None]
    assert (run.final_status, story.result.get(timeout=40)) == ("success", 2)


def test_a_task_whose_process_the_kernel_kills_for_its_memory_is_dead_lettered_after_three_losses(stage: Stage) -> None:
    run, story = stage.ended("prefork", "eats", ALWAYS)
    assert (run.final_status, run.failure_reason, run.losses, story.runs) == ("dead_lettered", "worker_lost", 3, 3)
    with pytest.raises(WorkerLostError):
        story.result.get(timeout=40)


@pytest.mark.parametrize("pool", POOLS)
def test_the_worker_goes_on(stage: Stage, pool: str) -> None:
    for begun_in, way, times in stage.stories:
        if begun_in == pool:
            stage.ended(pool, way, times)
    after = stage.app.send_task("tests.faults.shop.add", (1, 2), queue=pool)
    assert after.get(timeout=40) == 3
    assert stage.workers[pool].process.poll() is None
    run = wait_until(lambda: (run := Jobs(stage.app).get(after.id)).has_ended and run)
    assert (run.status, run.losses) == ("completed", 0)
