"""From a plain app to a trial, to retries on one queue, and back to a plain app: real processes, each job run once."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.adoption.conftest import sailing
from tests.adoption.shop import ADOPTED
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.adoption.conftest import Fleet

TRIAL: dict[str, Any] = {
    "jobs_redispatch_interval": 1,
    "jobs_redispatch_after": 5,
    "jobs_queues": {"bold": {"retries_enabled": True, "retry_delays": [3600]}},
}


@pytest.fixture
def fleet(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with sailing(broker_url, database_url, tmp_path / "marks", TRIAL) as fleet:
        yield fleet


@pytest.fixture
def worker(broker_url: str, database_url: str, tmp_path: Path) -> Callable[[bool], Any]:
    """Runs a worker process of the app, with the plugin or without, until the block's end: a warm shutdown."""

    @contextmanager
    def run(adopted: bool) -> Iterator[Worker]:
        env = {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])}
        env |= {ADOPTED: json.dumps(TRIAL)} if adopted else {}
        with Worker(
            "tests.adoption.shop:app",
            tmp_path,
            broker_url=broker_url,
            database_url=database_url,
            concurrency=2,
            queues=["celery", "bold"],
            env=env,
        ).wait_ready() as worker:
            yield worker
            worker.stop()

    return run


@pytest.mark.slow
@pytest.mark.matrix
def test_an_app_is_adopted_tried_and_left_again_and_runs_each_job_once(
    fleet: Fleet, worker: Callable[[bool], Any], tmp_path: Path
) -> None:
    with worker(False):
        fleet.mark(fleet.old, "slow", task="shop.mark_slowly")
        fleet.mark(fleet.old, "with an eta", countdown=20)
        fleet.wait_for_marks("slow begun old")
        (tmp_path / "marks.slow").touch()
    fleet.mark(fleet.old, "left in the broker")
    with worker(True):
        by_old = ["slow begun old", "slow old"]
        fleet.wait_for_marks(*by_old, "left in the broker new", "with an eta new")
        failed = fleet.new.tasks["shop.fail"].delay()
        waiting = fleet.mark(fleet.new, "a retry", task="shop.mark_at_second", queue="bold")
        fleet.mark(fleet.new, "held", delay=3600)
        assert fleet.ended(failed.id).final_status == "failed_no_retries"
        wait_until(lambda: fleet.jobs.get(waiting.id).has_pending_retry)
        told = fleet.jobs.what_if()
        assert [(one.queue, one.task, one.retried) for one in told.forecasts if one.failed] == [
            ("celery", "shop.fail", 1)
        ]
        fleet.mark(fleet.old, "slow again", task="shop.mark_slowly")
        by_new = ["left in the broker new", "with an eta new", "slow again begun new", "slow again new"]
        fleet.wait_for_marks(*by_old, *by_new[:-1])
        (tmp_path / "marks.slow again").touch()
    with worker(False):
        assert Jobs(fleet.new).fire_many(status="pending").done == 2
        fleet.wait_for_marks(*by_old, *by_new, "held old", "a retry old")
        assert fleet.mark(fleet.old, "last").get(timeout=40) == "last"
    assert len(fleet.marks) == len(by_old) + len(by_new) + 3
