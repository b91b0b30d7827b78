"""A task that leaves its worker no turn does not stop the worker's heartbeat, wherever the pool allows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs.store import reads
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery_jobs.store.db import Database
    from tests.processes import Worker

pytestmark = pytest.mark.slow

SECONDS = 4.5
"""Three times the silence after which a worker is declared dead."""


@pytest.mark.matrix
@pytest.mark.parametrize(("pool", "hog"), [("solo", "spin"), ("threads", "spin"), ("prefork", "hold_the_gil")])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_it_runs_once_to_its_end_beside_a_worker_that_looks_for_the_dead(
    db: Database, start: Callable[..., Worker], send: Callable[..., str], tmp_path: Path, pool: str, hog: str
) -> None:
    started = tmp_path / "started"
    busy = start(app="tests.faults.hogs:app", pool=pool)
    start("-Q", "elsewhere")  # stands in for the reaper
    job_id = send(f"hogs.{hog}", str(started), SECONDS)
    (job,) = wait_until(
        lambda: (rows := reads.attempts(db, job_id))[0].ended_at is not None and rows, timeout=30, process=busy
    )
    assert (job.final_status, job.losses, started.read_text()) == ("success", 0, "started\n")
    assert job.duration_ms is not None
    assert job.duration_ms > SECONDS * 900
