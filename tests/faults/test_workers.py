"""Workers die, are stopped and come back: their jobs run, each attempt has one outcome, nothing stays processing."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_jobs.store import reads
from tests.processes import wait_until
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job
    from tests.processes import Worker

    NewWorker = Callable[..., Worker]

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", BOTH, indirect=True)]


def only(db: Database, job_id: str) -> Job:
    (job,) = reads.attempts(db, job_id)
    return job


def starts(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def test_jobs_of_a_killed_worker_run_on_another(
    db: Database, start: NewWorker, send: Callable[..., str], tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    first = start()
    job_id = send("wait_for_file", str(gate), str(started))
    wait_until(lambda: starts(started), process=first)
    first.kill()
    second = start()
    wait_until(lambda: len(starts(started)) == 2, timeout=20, process=second)
    gate.touch()
    job = wait_until(lambda: (job := only(db, job_id)).status == "completed" and job, process=second)
    assert (job.attempt_number, job.losses, job.final_status) == (1, 1, "success")


def test_a_worker_that_was_stopped_past_its_time_writes_nothing_when_it_wakes(
    db: Database, start: NewWorker, send: Callable[..., str], tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    zombie = start()
    job_id = send("wait_for_file", str(gate), str(started))
    wait_until(lambda: starts(started), process=zombie)
    freeze(zombie, db)
    other = start()
    wait_until(lambda: len(starts(started)) == 2, timeout=30, process=other)
    token = only(db, job_id).lease_token
    gate.touch()
    wait_until(lambda: only(db, job_id).status == "completed", process=other)
    for child in zombie.children():
        signal_process(child, signal.SIGCONT)
    zombie.signal(signal.SIGCONT)
    wait_until(lambda: "lost its lease" in zombie.log, process=zombie)
    job = only(db, job_id)
    assert (job.lease_token, job.losses, job.status) == (token, 1, "completed")


def freeze(worker: Worker, db: Database) -> None:
    """Stop a worker and its children; on SQLite not while it holds the one lock that there is."""
    while True:
        worker.signal(signal.SIGSTOP)
        for child in worker.children():
            signal_process(child, signal.SIGSTOP)
        wait_until(lambda: all(map(is_stopped, [worker.pid, *worker.children()])), process=worker)
        if not db.is_sqlite or is_free(str(db.url.database)):
            return
        worker.signal(signal.SIGCONT)
        for child in worker.children():
            signal_process(child, signal.SIGCONT)


def is_stopped(pid: int) -> bool:
    """Whether each thread of a process stands still: one that was told to stop may still come to take a lock."""
    threads = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    if not threads:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def is_free(file: str) -> bool:
    """Whether a SQLite file can be written to now."""
    connection = sqlite3.connect(file, timeout=0.2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def signal_process(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


def test_a_warm_shutdown_finishes_what_runs(
    db: Database, start: NewWorker, send: Callable[..., str], tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    worker = start()
    job_id = send("wait_for_file", str(gate), str(started))
    wait_until(lambda: starts(started), process=worker)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.log, process=worker)
    gate.touch()
    assert worker.wait_ended() == 0
    assert (only(db, job_id).status, only(db, job_id).losses) == ("completed", 0)


def test_a_cold_shutdown_gives_back_what_it_abandons_unburnt(
    db: Database, start: NewWorker, send: Callable[..., str], tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    worker = start()
    job_id = send("wait_for_file", str(gate), str(started))
    wait_until(lambda: starts(started), process=worker)
    worker.signal(signal.SIGQUIT)
    worker.wait_ended()
    job = only(db, job_id)
    assert (job.status, job.losses) == ("pending", 0)
    gate.touch()
    other = start()
    wait_until(lambda: only(db, job_id).status == "completed", process=other)


def test_a_healthy_job_longer_than_a_workers_timeout_starts_once(
    db: Database, start: NewWorker, send: Callable[..., str], tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    worker = start()
    job_id = send("wait_for_file", str(gate), str(started))
    wait_until(lambda: starts(started), process=worker)
    reaped = db  # three times the silence that would declare it dead
    wait_until(lambda: _seconds_running(reaped, job_id) > 4.5, timeout=10, process=worker)
    gate.touch()
    wait_until(lambda: only(db, job_id).status == "completed", process=worker)
    assert len(starts(started)) == 1
    assert only(db, job_id).losses == 0


def _seconds_running(db: Database, job_id: str) -> float:
    from datetime import UTC, datetime

    begun = only(db, job_id).started_at
    assert begun is not None
    return (datetime.now(UTC) - begun).total_seconds()
