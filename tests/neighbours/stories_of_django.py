"""django-celery-results and django-celery-beat beside us, in a Django project. Run by test_django.py."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import chord
from celery.exceptions import ChordError
from celery.signals import before_task_publish
from django.core.management import call_command
from django.db import connections
from django.utils.timezone import now
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler
from django_celery_results.models import ChordCounter, TaskResult
from sqlalchemy import delete

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store.tables import ticks
from celery_jobs.telling import tell_untold
from celery_jobs.ticks import note_ticks
from tests.apps import working
from tests.neighbours.project import celery as project
from tests.processes import SOURCE, Beat, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery


@pytest.fixture(scope="module")
def worker() -> Iterator[None]:
    """One worker for all stories, and the tables."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    with working(project.app, queues=["celery", "patient"]):
        yield


@pytest.fixture
def app(worker: None) -> Iterator[Celery]:
    yield project.app
    wait_until(lambda: not Jobs(project.app).list(status="processing").runs)
    assert Jobs(project.app).check() == []


@pytest.fixture
def jobs(app: Celery) -> Jobs:
    return Jobs(app)


def stored(result: Any) -> TaskResult:
    """The one row that django-celery-results has of a chain."""
    return TaskResult.objects.get(task_id=result.id)


def test_a_result_goes_from_retry_to_success_in_one_row(app: Celery, jobs: Jobs) -> None:
    result = project.works_later.apply_async(queue="patient")
    wait_until(lambda: jobs.get(result.job_id).has_pending_retry)
    assert (result.state, stored(result).status) == ("RETRY", "RETRY")
    jobs.fire(result.job_id)
    assert result.get(timeout=40, interval=0.05) == 42
    row = stored(result)
    assert (row.status, row.result, row.task_name, row.traceback) == ("SUCCESS", "42", "works_later", None)
    assert jobs.wait(result.job_id, 40).final_status == "success"


def test_a_dead_letter_is_a_failure_with_its_error(app: Celery, jobs: Jobs) -> None:
    result = project.fails.delay()
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=40, interval=0.05)
    assert jobs.wait(result.job_id, 40).final_status == "dead_lettered"
    assert stored(result).status == "FAILURE"
    assert "ValueError: no" in str(stored(result).traceback)


def test_a_chord_waits_for_the_member_that_is_retried(app: Celery) -> None:
    result = chord([project.works_later.s(1), project.add.s(1, 1)], project.total.s())()
    assert result.get(timeout=40, interval=0.05) == 3
    assert ChordCounter.objects.count() == 0


@pytest.mark.matrix
def test_a_dead_member_fails_its_chord(app: Celery, jobs: Jobs) -> None:
    before = [run.id for run in jobs.list(task="total").runs]
    result = chord([project.fails.s(), project.add.s(1, 1)], project.total.s())()
    wait_until(lambda: result.state == "FAILURE", 20)
    assert isinstance(result.result, ChordError)
    assert "ValueError" in str(result.result)
    assert [run.id for run in jobs.list(task="total").runs] == before


@contextmanager
def lost_database() -> Iterator[None]:
    """Django's database cannot be reached; that of the jobs can."""
    settings = connections.databases["default"]
    there = {name: settings[name] for name in ("HOST", "PORT", "NAME")}
    settings.update(HOST="127.0.0.1", PORT="1", NAME="/nowhere/database")
    connections["default"].close()
    yield
    settings.update(there)
    connections["default"].close()


def test_a_job_whose_result_cannot_be_stored_is_a_success_and_is_told_later(app: Celery, jobs: Jobs) -> None:
    with lost_database():
        result = project.add.delay(3, 4)
        assert jobs.wait(result.job_id, 40).final_status == "success"
    assert tell_untold(plugin_of(app), 10) == 1
    assert (result.state, result.get(timeout=1)) == ("SUCCESS", 7)


def test_a_verdict_outside_a_run_is_told_over_a_new_connection_where_the_old_one_died(app: Celery, jobs: Jobs) -> None:
    """As in a worker's own threads, where no request of Django's and no task begins."""
    result = project.add.apply_async((3, 4), queue="nobody's")
    if connections["default"].vendor == "sqlite":
        pytest.skip("a file has no connection that dies")
    connections["default"].ensure_connection()
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [process] = cursor.fetchone()
    with plugin_of(app).db.transaction() as other:
        other.exec_driver_sql(f"SELECT pg_terminate_backend({process})")
    jobs.cancel(result.job_id)
    wait_until(lambda: tell_untold(plugin_of(app), 10) == 0)
    assert result.state == "REVOKED"


OURS = {
    "celery-jobs.promoter": 1,
    "celery-jobs.redispatcher": 60,
    "celery-jobs.reaper": 15,
    "celery-jobs.dead-letter-sweeper": 86_400,
    "celery-jobs.history-sweeper": 86_400,
}
"""Our entries, and the seconds between two ticks of each."""


def entries() -> dict[str, int | None]:
    """The table that the admin shows: seconds between ticks by name."""
    return {
        entry.name: entry.interval and entry.interval.every for entry in PeriodicTask.objects.select_related("interval")
    }


@contextmanager
def published() -> Iterator[list[dict[str, Any]]]:
    """The headers of the messages that are published inside."""
    seen: list[dict[str, Any]] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        seen.append(headers)

    before_task_publish.connect(note)
    yield seen
    before_task_publish.disconnect(note)


def test_the_schedulers_entries_are_ours_and_the_apps_and_become_ticks_and_jobs(app: Celery, jobs: Jobs) -> None:
    scheduler = DatabaseScheduler(app=app, lazy=False)
    assert entries() == {**OURS, "close-the-books": 1, "celery.backend_cleanup": None}
    for entry in scheduler.schedule.values():
        entry.last_run_at -= timedelta(days=2)
    with published() as messages:
        for _ in entries():
            scheduler.tick()
    lives = {found["periodic_task_name"]: seconds_to_live(found) for found in messages}
    assert {name: lives[name] for name in OURS} == pytest.approx(OURS, abs=5)
    [run] = [run for run in jobs.list(task="works_later").runs if str(jobs.arguments(run.id)) == "(7)"]
    assert (jobs.wait(run.id, 40).final_status, lives["close-the-books"]) == ("success", None)
    # The second attempt, of which Celery's beat knows nothing, still belongs to the entry.
    assert TaskResult.objects.get(task_id=run.task_id).periodic_task_name == "close-the-books"


def test_two_schedulers_make_one_job_of_a_tick(app: Celery, jobs: Jobs) -> None:
    before = len(jobs.list(task="works_later").runs)
    with plugin_of(app).db.transaction() as connection:
        connection.execute(delete(ticks))  # that of the scheduler before
    for _ in range(2):
        scheduler = DatabaseScheduler(app=app, lazy=False)
        note_ticks(scheduler)
        entry = scheduler.schedule["close-the-books"]
        entry.last_run_at -= timedelta(days=2)
        assert scheduler.is_due(entry).is_due
        scheduler.apply_entry(entry)
    runs = jobs.list(task="works_later").runs
    assert len(runs) == before + 1
    assert jobs.wait(runs[0].id, 40).final_status == "success"


def seconds_to_live(headers: dict[str, Any]) -> float | None:
    """How long a message is good for."""
    expires = headers["expires"]
    return expires and (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()


@contextmanager
def beat(folder: Path) -> Iterator[Beat]:
    """A beat process with the project's scheduler, until it is stopped in good order."""
    with Beat(
        "tests.neighbours.project.celery:app",
        folder,
        broker_url=os.environ["CELERY_BROKER_URL"],
        database_url=os.environ["JOBS_DATABASE_URL"],
        env={"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
    ).wait_ready() as process:
        yield process
        process.stop()


def until_sent(process: Beat, *names: str) -> None:
    """Wait until a beat has sent some entries twice."""
    wait_until(lambda: all(process.log.count(f"Sending due task {name} ") >= 2 for name in names), 30, process=process)


def change(name: str, **values: Any) -> None:
    """Change an entry as the admin does."""
    entry = PeriodicTask.objects.get(name=name)
    for field, value in values.items():
        setattr(entry, field, value)
    entry.save()


@pytest.mark.matrix
def test_a_restarted_beat_has_each_entry_once_and_what_the_admin_changed(
    app: Celery, jobs: Jobs, tmp_path: Path
) -> None:
    if connections["default"].vendor == "sqlite":
        pytest.skip("stopped in the middle of an enqueue, a beat waits for its own lock on the file")
    with beat(tmp_path) as process:
        until_sent(process, "celery-jobs.promoter", "close-the-books")
        second = IntervalSchedule.objects.get(every=1)
        PeriodicTask.objects.create(name="of-the-admin", task="add", interval=second, args="[10, 20]")
        until_sent(process, "of-the-admin")
    change("of-the-admin", args="[30, 40]")
    change("celery-jobs.history-sweeper", enabled=False, last_run_at=now() - timedelta(days=2))
    change("celery-jobs.promoter", interval=IntervalSchedule.objects.create(every=7, period="seconds"))
    ran_before = PeriodicTask.objects.get(name="of-the-admin").total_run_count
    with beat(tmp_path) as process:
        until_sent(process, "celery-jobs.promoter", "close-the-books", "of-the-admin")
        assert "celery-jobs.history-sweeper" not in process.log

    # How often a service runs is said by the settings, whatever the table says.
    assert entries() == {**OURS, "close-the-books": 1, "of-the-admin": 1, "celery.backend_cleanup": None}
    kept = PeriodicTask.objects.get(name="of-the-admin")
    assert kept.args == "[30, 40]"
    assert kept.total_run_count >= ran_before + 2 >= 4
    assert not PeriodicTask.objects.get(name="celery-jobs.history-sweeper").enabled
    made = {str(jobs.arguments(run.id)) for run in jobs.list(task="add").runs}
    assert {"(10, 20)", "(30, 40)"} <= made
