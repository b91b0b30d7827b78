"""Clocks that are ten minutes off: the database's clock judges what is due, expired or dead.

A story's skewed process is beside a right one; the database, PostgreSQL, is right. Only the wall clock is off.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import time_machine
from sqlalchemy import update

from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store import invariants
from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_jobs.store.rows import Job

WRONG = (600.0, -600.0)
ON_TIME = 5.0
"""Seconds by which a job may start late on a busy machine; a wrong clock would make it minutes."""

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

both_ways = pytest.mark.parametrize(
    "ahead", [pytest.param(WRONG[0], id="ahead"), pytest.param(WRONG[1], id="behind", marks=pytest.mark.matrix)]
)


@pytest.fixture
def yard(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    with Yard(broker_url, database_url, tmp_path, jobs_promote_interval=1) as yard:
        yield yard
        assert invariants.check(yard.db) == []


def note(yard: Yard, text: str = "ran", **options: object) -> str:
    return yard.send("note", str(yard.notes), text, **options)


def was_on_time(row: Job) -> bool:
    assert row.started_at is not None
    return 0 <= (row.started_at - row.scheduled_at).total_seconds() <= ON_TIME


def seconds_of(row: Job) -> float:
    """How long a job was to wait, when it was made."""
    return (row.scheduled_at - row.created_at).total_seconds()


def fall_due(yard: Yard, job_id: str, seconds: float) -> None:
    """As if a job's delay had passed but for these seconds."""
    with yard.db.transaction() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(scheduled_at=now(seconds)))


@both_ways
def test_a_worker_with_a_wrong_clock_starts_nothing_early_and_nothing_late(yard: Yard, ahead: float) -> None:
    worker = yard.worker(clock=ahead)
    due = {
        "at once": note(yard),
        "countdown": note(yard, countdown=3),
        "eta": note(yard, eta=datetime.now(UTC) + timedelta(seconds=3)),
        "held": note(yard, delay=600),
        "retry": yard.send("flaky", str(yard.notes), "ran", retry_delays=[3]),
    }
    fall_due(yard, due["held"], 3)
    for job_id in due.values():
        for row in yard.ended(job_id, worker):
            assert was_on_time(row), row
    assert seconds_of(yard.attempts(due["countdown"])[0]) == pytest.approx(3, abs=0.5)
    assert len(yard.noted()) == 6


@both_ways
def test_a_worker_with_a_wrong_clock_lets_run_what_has_not_expired_and_cancels_what_has(
    yard: Yard, ahead: float
) -> None:
    fresh, stale = note(yard, "fresh", expires=300), note(yard, "stale", expires=0.001)
    late = note(yard, "late", countdown=2, expires=300)
    worker = yard.worker(clock=ahead)
    verdicts = {job_id: yard.ended(job_id, worker)[0].final_status for job_id in (fresh, stale, late)}
    assert verdicts == {fresh: "success", stale: "cancelled", late: "success"}
    assert yard.app.AsyncResult(fresh).state == "SUCCESS"
    assert yard.noted() == ["fresh", "late"]


def test_callers_with_wrong_clocks_have_their_delays_and_expiries_kept(yard: Yard) -> None:
    """What they count in seconds counts by the database's clock; a moment is the moment that it names."""
    worker = yard.worker()
    moment = datetime.now(UTC) + timedelta(seconds=3)
    waits, stale = [], []
    for ahead in WRONG:
        with time_machine.travel(timedelta(seconds=ahead)):
            waits += [
                (note(yard), 0),
                (note(yard, countdown=3), 3),
                (note(yard, delay=3), 3),
                (note(yard, eta=moment), 3),
                (note(yard, expires=300), 0),
                (note(yard, countdown=2, expires=300), 2),
            ]
            stale.append(note(yard, "stale", countdown=1, expires=0.5))
    for job_id, wait in waits:
        (row,) = yard.ended(job_id, worker)
        assert row.final_status == "success"
        assert was_on_time(row), row
        assert seconds_of(row) == pytest.approx(wait, abs=2.5)
    assert [yard.ended(job_id, worker)[0].final_status for job_id in stale] == ["cancelled", "cancelled"]


def test_what_promoters_with_wrong_clocks_send_ahead_starts_on_time(yard: Yard) -> None:
    promoter = make_service(plugin_of(yard.app), "promoter")
    ids = []
    for ahead in WRONG:
        ids.append(note(yard, delay=70, expires=100))
        fall_due(yard, ids[-1], 4)
        with time_machine.travel(timedelta(seconds=ahead)):
            assert promoter.run_once() == 1
    worker = yard.worker()
    for job_id in ids:
        (row,) = yard.ended(job_id, worker)
        assert (row.final_status, row.send_count) == ("success", 1)
        assert was_on_time(row), row


@pytest.mark.matrix
def test_wrong_clocks_make_nobody_look_dead(yard: Yard, tmp_path: Path) -> None:
    """Each worker has a reaper of its own: any may look at the others, for twice the silence that it bears."""
    gate = tmp_path / "gate"
    workers = [yard.worker("-c", "1", clock=ahead) for ahead in (0, *WRONG)]
    ids = [yard.send("wait_for_file", str(gate), str(yard.notes), text) for text in ("a", "b", "c")]
    wait_until(lambda: len(yard.noted()) == 3, process=workers[0])
    wait_until(lambda: yard.running_for(ids[0]) > 3, process=workers[0])
    gate.touch()
    assert [(row.losses, row.final_status) for job_id in ids for row in yard.ended(job_id)] == [(0, "success")] * 3
    assert sorted(yard.noted()) == ["a", "b", "c"]
    assert not any("declared dead" in worker.log for worker in workers)


@pytest.mark.matrix
def test_what_dead_workers_with_wrong_clocks_held_is_brought_back(yard: Yard, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wrong = [yard.worker("-c", "1", clock=ahead) for ahead in WRONG]
    ids = [yard.send("wait_for_file", str(gate), str(yard.notes), text) for text in ("a", "b")]
    wait_until(lambda: len(yard.noted()) == 2, process=wrong[0])
    for worker in wrong:
        worker.kill()
    gate.touch()
    right = yard.worker()
    for job_id in ids:
        (row,) = yard.ended(job_id, right)
        assert (row.losses, row.final_status) == (1, "success")
    assert sorted(yard.noted()) == ["a", "a", "b", "b"]
