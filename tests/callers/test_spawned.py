"""A caller in a process that was spawned, not forked: it imports the app anew, and the plugin with it."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

pytestmark = pytest.mark.xdist_group("callers-spawned")

BROKER, DATABASE = "SPAWNED_BROKER_URL", "SPAWNED_DATABASE_URL"


def app_of_the_process() -> Celery:
    """Made where it is imported, as an app is."""
    return make_app(os.environ[BROKER], os.environ[DATABASE])


def call(task_id: str) -> None:
    app_of_the_process().send_task("elsewhere", (1,), task_id=task_id, idempotency_key="once")


def test_a_spawned_process_makes_jobs(
    broker_url: str, new_sqlite_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BROKER, broker_url)
    monkeypatch.setenv(DATABASE, new_sqlite_database())
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=call, args=(f"call {number}",)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    app = app_of_the_process()
    (run,) = Jobs(app).list()
    assert (run.task, run.status, run.idempotency_key) == ("elsewhere", "pending", "once")
    plugin_of(app).unchecked_db.dispose()
    app.close()
