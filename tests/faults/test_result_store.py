"""The result store is away: jobs end as their tasks say, and callers hear of it when it is back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.backends.cache import CacheBackend

from celery_jobs import Jobs, NoRetry
from celery_jobs.events import Event, Kind
from celery_jobs.plugin import plugin_of
from celery_jobs.telling import tell_untold
from tests.apps import make_app, working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


class Away(CacheBackend):  # type: ignore[misc]
    """Results in this process's memory, or nowhere while it is away."""

    is_away = False

    def _store_result(self, *args: Any, **kwargs: Any) -> Any:
        if Away.is_away:
            raise ConnectionError("the result store is away")
        return super()._store_result(*args, **kwargs)


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database())
    app.conf.result_backend = f"{__name__}:Away"
    app.conf.cache_backend = "memory"
    Away.is_away = True

    @app.task(name="works", shared=False)
    def works(x: int) -> dict[str, int]:
        return {"x": x}

    @app.task(name="fails", shared=False)
    def fails() -> None:
        raise NoRetry("never")

    @app.task(name="fails_once", bind=True, shared=False)
    def fails_once(self: Any) -> str:
        if self.request.retries == 0:
            raise ValueError("once")
        return "worked"

    yield app
    Away.is_away = False
    plugin_of(app).unchecked_db.dispose()
    app.close()


def test_a_job_whose_task_returned_is_a_success_and_its_caller_hears_of_it_later(app: Celery) -> None:
    jobs = Jobs(app)
    with working(app):
        result = app.tasks["works"].delay(7)
        run = jobs.wait(result.id, 40)
    assert (run.final_status, run.result, run.attempt_number) == ("success", {"x": 7}, 1)
    assert result.state == "PENDING"
    Away.is_away = False
    assert tell_untold(plugin_of(app), 10) == 1
    assert (result.state, result.get(timeout=1)) == ("SUCCESS", {"x": 7})
    assert tell_untold(plugin_of(app), 10) == 0
    assert jobs.check() == []


def test_a_failure_is_dead_lettered_once_and_its_caller_hears_of_it_later(app: Celery, heard: list[Event]) -> None:
    jobs = Jobs(app)
    with working(app):
        result = app.tasks["fails"].delay()
        assert jobs.wait(result.id, 40).final_status == "dead_lettered"
    tell_untold(plugin_of(app), 10)
    Away.is_away = False
    tell_untold(plugin_of(app), 10)
    assert result.state == "FAILURE"
    assert [event.kind for event in heard].count(Kind.DEAD_LETTERED) == 1


def test_the_policy_goes_on_retrying(app: Celery) -> None:
    jobs = Jobs(app)
    with working(app):
        result = app.tasks["fails_once"].delay()
        run = jobs.wait(result.id, 40)
    assert (run.final_status, run.attempt_number, run.result) == ("success", 2, "worked")
    Away.is_away = False
    tell_untold(plugin_of(app), 10)
    assert result.get(timeout=1) == "worked"


def test_a_result_that_it_cannot_keep_is_the_tasks_fault(app: Celery) -> None:
    Away.is_away = False

    @app.task(name="unkeepable", shared=False)
    def unkeepable() -> object:
        return object()

    with working(app):
        run = Jobs(app).wait(unkeepable.apply_async(max_attempts=1).id, 40)
    assert (run.final_status, run.failure_reason) == ("dead_lettered", "exception")
