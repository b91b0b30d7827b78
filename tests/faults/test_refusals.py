"""A worker that does not know a task, or cannot read its message, does not end the job: another may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import NotRegistered

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.apps import make_app, working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

QUICK: dict[str, Any] = {"jobs_redispatch_after": 0.1, "jobs_redispatch_interval": 0.1}


def add_task(app: Celery) -> Any:
    @app.task(name="late.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_a_task_that_no_worker_knows_says_so_and_is_buried_in_the_end(
    broker_url: str, new_sqlite_database: Callable[[], str]
) -> None:
    app = make_app(broker_url, new_sqlite_database(), jobs_max_refusals=3, **QUICK)
    result = app.send_task("late.add", (1, 2))
    with working(app):
        run = wait_until(lambda: (run := Jobs(app).get(result.id)).has_ended and run, timeout=30)
        with pytest.raises(NotRegistered):
            result.get(timeout=40)
    assert (run.status, run.final_status, run.failure_reason) == ("failed", "dead_lettered", "unknown_task")
    assert run.attempts[0].send_count == 3
    assert "does not know the task late.add" in str(run.error_message)
    assert invariants.check(plugin_of(app).db) == []


def test_a_job_waits_for_the_worker_that_knows_its_task(
    broker_url: str, new_sqlite_database: Callable[[], str]
) -> None:
    url = new_sqlite_database()
    old, new = make_app(broker_url, url, **QUICK), make_app(broker_url, url, **QUICK)
    add_task(new)
    result = old.send_task("late.add", (1, 2))
    with working(old):
        wait_until(lambda: Jobs(old).get(result.id).failure_reason == "unknown_task")
    assert Jobs(old).get(result.id).status == "pending"
    with working(new):
        assert result.get(timeout=40) == 3
        run = wait_until(lambda: (run := Jobs(new).get(result.id)).has_ended and run)
    assert (run.final_status, run.failure_reason, run.error_message) == ("success", None, None)


def test_a_message_that_no_worker_can_read_is_buried_in_the_end(
    broker_url: str, new_sqlite_database: Callable[[], str]
) -> None:
    url = new_sqlite_database()
    producer = make_app(broker_url, url, task_serializer="pickle", accept_content=["pickle", "json"])
    worker = make_app(broker_url, url, jobs_max_refusals=2, accept_content=["json"], **QUICK)
    add_task(worker)
    result = producer.send_task("late.add", (1, 2))
    with working(worker):
        run = wait_until(lambda: (run := Jobs(worker).get(result.id)).has_ended and run, timeout=30)
    assert (run.final_status, run.failure_reason) == ("dead_lettered", "undecodable")
    assert invariants.check(plugin_of(worker).db) == []
