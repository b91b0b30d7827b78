"""celery-singleton's tasks beside ours are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis

from celery_jobs import Jobs
from tests.apps import working

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery


def test_a_singleton_keeps_its_own_lock_and_makes_no_rows(new_app: Callable[..., Celery], broker_url: str) -> None:
    from celery_singleton import DuplicateTaskError, Singleton

    app = new_app(singleton_backend_url=broker_url)
    ran: list[int] = []

    @app.task(base=Singleton, name="report")
    def report(day: int) -> int:
        ran.append(day)
        return day

    @app.task(base=Singleton, name="strict", raise_on_duplicate=True)
    def strict() -> None: ...

    @app.task(name="job")
    def job() -> str:
        return str(report.delay(2).id)

    first, second = report.delay(1), report.delay(1)
    assert first.id == second.id
    strict.delay()
    with pytest.raises(DuplicateTaskError):
        strict.delay()
    ours = job.delay()
    with working(app):
        assert first.get(timeout=40) == 1
        inner = app.AsyncResult(ours.get(timeout=40))
        assert inner.get(timeout=40) == 2
        assert report.delay(1).get(timeout=40) == 1  # the lock was given back
    assert ran == [1, 2, 1]
    assert [run.task for run in Jobs(app).list().runs] == ["job"]
    with Redis.from_url(broker_url) as client:
        assert client.keys("SINGLETONLOCK_*") == []
