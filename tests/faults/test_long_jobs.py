"""Jobs and workers that outlive what others count with: a broker's visibility timeout, a process of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs import Jobs
from tests.faults.shop import settings
from tests.processes import wait_until
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery

    from tests.processes import Worker

    NewWorker = Callable[..., Worker]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("db"),
    pytest.mark.parametrize("database_url", BOTH, indirect=True),
]

VISIBILITY = 1
"""Seconds after which the broker gives an unacknowledged message to somebody else; looked at twice a second."""

RECYCLED = ("--max-tasks-per-child=1", "--max-memory-per-child=1")
"""Options with which every process of the pool ends after its first job; the memory is in KiB."""

JOBS = 15


def drops(*workers: Worker) -> int:
    """How many messages the workers have dropped because somebody ran their job."""
    return sum(worker.log.count("was dropped: taken") for worker in workers)


@pytest.mark.matrix
def test_a_job_longer_than_the_visibility_timeout_starts_once(
    app: Celery, start: NewWorker, tmp_path: Path, broker_url: str
) -> None:
    options = {
        "visibility_timeout": VISIBILITY,
        "unacked_restore_interval": VISIBILITY / 2,
        "unacked_restore_throttle": 1,
    }
    env = settings(task_acks_late=True, broker_transport_options=options)
    workers = [start(concurrency=2, env=env) for _ in range(2)]
    gate, started = tmp_path / "gate", tmp_path / "started"
    result = app.send_task("tests.faults.shop.wait_for_file", (str(gate), str(started)))
    wait_until(lambda: drops(*workers), timeout=30, process=workers[0])
    gate.touch()
    assert result.get(timeout=40) == "done"
    run = wait_until(lambda: (run := Jobs(app).get(result.id)).has_ended and run)
    assert [(job.status, job.losses, job.send_count) for job in run.attempts] == [("completed", 0, 1)]
    assert len(started.read_text().split()) == 1
    with Redis.from_url(broker_url) as client:
        wait_until(lambda: not client.exists("unacked", "celery"), message="a message is left")
    assert len(started.read_text().split()) == 1


@pytest.mark.matrix
def test_processes_that_end_after_each_job_lose_none(app: Celery, start: NewWorker, tmp_path: Path) -> None:
    workers = [start(option, concurrency=2, queues=[option], env=settings()) for option in RECYCLED]
    results = [enqueue(app, tmp_path / f"{option}-{n}", option) for n in range(JOBS) for option in RECYCLED]
    assert [result.get(timeout=60) for result in results] == [1] * len(results)
    runs = wait_until(lambda: all((found := runs_of(app, results)) and [run.has_ended for run in found]) and found)
    assert {(run.final_status, run.attempt_number, run.losses) for run in runs} == {("success", 1, 0)}
    assert len({(tmp_path / f"{option}-{n}").read_text() for n in range(JOBS) for option in RECYCLED}) == 2 * JOBS
    for worker in workers:
        assert "exited prematurely" not in worker.log


def enqueue(app: Celery, file: Path, queue: str) -> Any:
    """A job that notes the process that runs it, and gives how often it has run."""
    return app.send_task("tests.faults.shop.ends", ("", str(file), 0), queue=queue)


def runs_of(app: Celery, results: list[Any]) -> list[Any]:
    return [Jobs(app).get(result.id) for result in results]
