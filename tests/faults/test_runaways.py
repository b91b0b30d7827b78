"""A task past its hard limit in a pool that cannot stop it: its attempt ends all the same, and it is fenced."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from celery.contrib.testing.worker import start_worker
from celery.exceptions import TimeLimitExceeded

from celery_jobs import Jobs, settings
from celery_jobs.plugin import plugin_of
from tests.apps import make_app
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

POOLS = ["solo", "threads"]


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    monkeypatch.setattr(settings, "RUNAWAY_GRACE", 0.2)
    app = make_app(broker_url, new_sqlite_database(), jobs_heartbeat_interval=0.1, task_acks_late=True)
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def hang(app: Celery) -> Iterator[Any]:
    """A task whose first attempt hangs until the test ends or lets it go: `hang.let_go.set()`."""
    let_go = threading.Event()

    @app.task(name="hang", bind=True, time_limit=0.3, shared=False)
    def hang(self: Any) -> str:
        if self.request.retries == 0:
            let_go.wait(20)
        return f"attempt {self.request.retries + 1}"

    hang.let_go = let_go
    yield hang
    let_go.set()


@pytest.mark.parametrize("pool", POOLS)
def test_it_is_retried_by_the_policy_and_what_it_returns_is_dropped(app: Celery, hang: Any, pool: str) -> None:
    jobs = Jobs(app)
    with start_worker(app, pool=pool, concurrency=2, perform_ping_check=False, shutdown_timeout=20):
        result = hang.delay()
        wait_until(lambda: jobs.get(result.job_id).attempts[0].status == "failed")
        hang.let_go.set()
        assert result.get(timeout=40) == "attempt 2"
        run = jobs.wait(result.job_id, timeout=10)
    first = run.attempts[0]
    assert (first.failure_reason, first.error_type, first.result) == ("timeout", "TimeLimitExceeded", None)
    assert (run.final_status, run.result, run.losses) == ("success", "attempt 2", 0)
    assert jobs.check() == []


@pytest.mark.parametrize("pool", POOLS)
def test_without_attempts_left_its_caller_hears_of_it_while_it_still_runs(app: Celery, hang: Any, pool: str) -> None:
    jobs = Jobs(app)
    with start_worker(app, pool=pool, concurrency=2, perform_ping_check=False, shutdown_timeout=20):
        result = hang.apply_async(max_attempts=1)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=40)
        run = jobs.get(result.job_id)
        assert (run.final_status, run.failure_reason) == ("dead_lettered", "timeout")
        hang.let_go.set()
        other = hang.apply_async(retries=1)
        assert other.get(timeout=40) == "attempt 2"
    after = jobs.get(result.job_id)
    assert (after.final_status, after.finished_at, after.result) == (run.final_status, run.finished_at, None)
    assert result.state == "FAILURE"


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_within_its_limit_is_left_alone(app: Celery, pool: str) -> None:
    @app.task(name="quick", time_limit=30, shared=False)
    def quick() -> str:
        threading.Event().wait(0.5)
        return "done"

    with start_worker(app, pool=pool, concurrency=2, perform_ping_check=False, shutdown_timeout=20):
        assert quick.delay().get(timeout=40) == "done"
