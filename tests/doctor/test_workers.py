"""What the doctor finds of workers and services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from celery_jobs.services import SERVICES
from celery_jobs.store import services, workers
from celery_jobs.store.db import now
from celery_jobs.store.tables import workers as table
from tests.doctor.conftest import ask
from tests.store.conftest import QUEUE, claim, pause, resume, shift, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.plugin import Plugin


def test_no_worker(plugin: Plugin) -> None:
    assert [finding.severity for finding in ask(plugin, "no-worker")] == ["warning"]
    workers.register(plugin.db, "celery@a", 1, ["celery"])
    assert ask(plugin, "no-worker") == []


def test_a_worker_that_fell_silent_is_none_though_nobody_declares_it_dead(plugin: Plugin) -> None:
    workers.register(plugin.db, "celery@a", 1, [QUEUE])
    store(plugin.db)
    assert ask(plugin, "no-worker") == ask(plugin, "queue-without-worker") == []
    shift(plugin.db, 61)
    assert len(ask(plugin, "no-worker")) == len(ask(plugin, "queue-without-worker")) == 1


def test_due_jobs_in_a_queue_that_nobody_consumes(plugin: Plugin) -> None:
    workers.register(plugin.db, "celery@a", 1, ["celery"])
    for _ in range(3):
        store(plugin.db)
    store(plugin.db, queue="celery")
    (finding,) = ask(plugin, "queue-without-worker")
    assert finding.severity == "error"
    assert f"3 due job(s) in the queue '{QUEUE}'" in finding.words
    workers.register(plugin.db, "celery@b", 1, [QUEUE])
    assert ask(plugin, "queue-without-worker") == []


def test_jobs_that_need_no_worker_now(plugin: Plugin) -> None:
    store(plugin.db, delay=60)
    claim(plugin.db, store(plugin.db, queue="running"))
    store(plugin.db, queue="paused")
    pause(plugin.db, "paused")
    assert ask(plugin, "queue-without-worker") == []
    resume(plugin.db, "paused")
    assert len(ask(plugin, "queue-without-worker")) == 1


def test_a_sqlite_file_with_workers_of_several_hosts(make: Callable[..., Plugin]) -> None:
    plugin = make()
    workers.register(plugin.db, "celery@a", 1, ["celery"])
    workers.register(plugin.db, "second@a", 2, ["celery"])
    assert ask(plugin, "sqlite-shared") == []
    workers.register(plugin.db, "celery@b", 1, ["celery"])
    (finding,) = ask(plugin, "sqlite-shared")
    assert (finding.severity, "(a, b)" in finding.words) == ("warning", True)


def test_postgresql_may_have_workers_of_several_hosts(
    make: Callable[..., Plugin], new_postgresql_database: Callable[[], str]
) -> None:
    plugin = make(database_url=new_postgresql_database())
    for host in ("a", "b"):
        workers.register(plugin.db, f"celery@{host}", 1, ["celery"])
    assert ask(plugin, "sqlite-shared") == []


@pytest.mark.parametrize(("seconds", "found"), [(0, []), (239, []), (241, ["promoter", "redispatcher"])])
def test_services_that_nobody_runs(plugin: Plugin, seconds: float, found: list[str]) -> None:
    assert ask(plugin, "service-overdue") == []
    for name in SERVICES:
        services.take(plugin.db, name, 1)
    shift(plugin.db, seconds)
    services.take(plugin.db, "reaper", 1)
    overdue = ask(plugin, "service-overdue")
    assert [finding.words.split()[1] for finding in overdue] == found
    assert {finding.severity for finding in overdue} <= {"warning"}


def test_a_dead_worker_that_holds_jobs(plugin: Plugin) -> None:
    worker = workers.register(plugin.db, "celery@a", 1, [QUEUE])
    claim(plugin.db, store(plugin.db), worker)
    assert ask(plugin, "dead-worker") == []
    plugin.db.run(lambda connection: connection.execute(update(table).values(dead_at=now())))
    (finding,) = ask(plugin, "dead-worker")
    assert (finding.severity, "celery@a" in finding.words) == ("info", True)
    workers.forget(plugin.db, worker)
    assert ask(plugin, "dead-worker") == []
