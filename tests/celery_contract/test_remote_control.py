"""Celery's remote control acts on the records too: what it took away does not come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.app.control import Control
from celery.contrib.testing.mocks import TaskMessage

import celery_jobs
from celery_jobs import Jobs
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store import attempts, reads, workers
from celery_jobs.store.rows import Claim
from celery_jobs.worker import settling
from celery_jobs.worker.request import JobRequest
from tests.apps import make_app, working
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database())

    @app.task(name="add", shared=False)
    def add(x: int) -> int:
        return x

    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


def test_a_revoked_job_is_cancelled_though_no_worker_was_there_to_hear_of_it(app: Celery) -> None:
    jobs = Jobs(app)
    result, other = app.tasks["add"].delay(1), app.tasks["add"].delay(2)
    result.revoke()
    assert jobs.get(result.id).final_status == "cancelled"
    assert result.state == "REVOKED"
    with working(app):
        assert other.get(timeout=40) == 2
    assert jobs.get(result.id).final_status == "cancelled"


def test_many_are_revoked_at_once_and_ids_of_no_job_are_left_to_celery(app: Celery) -> None:
    results = [app.tasks["add"].apply_async((n,), delay=3600) for n in range(3)]
    app.control.revoke([*(result.id for result in results), "nobodys"])
    assert {Jobs(app).get(result.id).final_status for result in results} == {"cancelled"}


@pytest.mark.parametrize("terminate", [True, False])
def test_a_running_job_that_is_revoked_is_asked_to_stop_and_with_terminate_killed(app: Celery, terminate: bool) -> None:
    """Also by a worker that the broadcast does not reach: SQL says it."""
    db, worker = plugin_of(app).db, new_id()
    result = app.tasks["add"].delay(1)
    attempts.claim(db, result.job_id, worker, token := new_id(), 60)
    result.revoke(terminate=terminate)
    assert Jobs(app).get(result.id).cancel_requested_at is not None
    assert workers.terminating(db, worker) == ({token} if terminate else set())


def test_where_terminate_is_no_keyword_it_counts_too(app: Celery) -> None:
    db, worker = plugin_of(app).db, new_id()
    result = app.tasks["add"].delay(1)
    attempts.claim(db, result.job_id, worker, token := new_id(), 60)
    app.control.revoke(result.id, None, True)
    assert workers.terminating(db, worker) == {token}


@pytest.mark.parametrize(("verdict", "announced"), [("success", False), ("cancelled", True)])
def test_a_worker_announces_no_revoke_of_a_run_that_has_ended_otherwise(
    app: Celery, verdict: str, announced: bool
) -> None:
    db, token = plugin_of(app).db, new_id()
    job_id = app.tasks["add"].delay(1).job_id
    claimed = attempts.claim(db, job_id, new_id(), token, 60)
    assert isinstance(claimed, Claim)
    if verdict == "success":
        attempts.complete(db, claimed, "1", 5)
    assert bool(settling.revoke(plugin_of(app), job_id, token, 5)) is announced
    assert bool(settling.revoke(plugin_of(app), job_id, token, 5)) is announced
    assert Jobs(app).get(job_id).final_status == verdict


def test_a_revoke_that_the_result_store_has_not_heard_of_stays_untold(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = plugin_of(app).db
    result = app.tasks["add"].delay(1)
    request = JobRequest(TaskMessage("add", id=result.id), app=app, task=app.tasks["add"])
    request._job_id = result.job_id
    attempts.claim(db, result.job_id, new_id(), request.lease_token, 60)
    with monkeypatch.context() as patch:
        patch.setattr(app.backend, "mark_as_revoked", away)
        with pytest.raises(ConnectionError):
            request._announce_revoked("terminated", True, 15, False)
    assert Jobs(app).get(result.id).final_status == "cancelled"
    assert reads.untold(db, 10) == [result.job_id]
    request._announce_revoked("terminated", True, 15, False)  # when the process has ended
    assert reads.untold(db, 10) == []
    assert result.state == "REVOKED"


def away(*_: Any, **__: Any) -> None:
    raise ConnectionError("the result store is away")


def test_a_revoke_of_an_ended_job_changes_nothing(app: Celery) -> None:
    with working(app):
        result = app.tasks["add"].delay(1)
        result.get(timeout=40)
        run = Jobs(app).wait(result.id, 40)
    result.revoke()
    assert Jobs(app).get(result.id) == run


def test_purged_jobs_are_cancelled_and_not_sent_again(app: Celery) -> None:
    jobs, db = Jobs(app), plugin_of(app).db
    sent = [app.tasks["add"].delay(n) for n in range(3)]
    held = app.tasks["add"].apply_async((9,), delay=3600)
    running = app.tasks["add"].delay(7)
    attempts.claim(db, running.job_id, new_id(), new_id(), 60)
    assert app.control.purge() == 4
    assert {jobs.get(result.id).final_status for result in sent} == {"cancelled"}
    assert {result.state for result in sent} == {"REVOKED"}
    assert (jobs.get(held.id).status, jobs.get(running.id).status) == ("pending", "processing")
    assert jobs.get(running.id).cancel_requested_at is None
    shift(db, 300)
    assert make_service(plugin_of(app), "redispatcher").run_once() == 0


def test_an_apps_own_remote_control_stays(broker_url: str) -> None:
    from celery import Celery

    class Own(Control):  # type: ignore[misc]
        greeting = "hello"

    class App(Celery):  # type: ignore[misc]
        control_cls: Any = Own

    app = App("shop", broker=broker_url, set_as_current=False)
    celery_jobs.install(app)
    assert app.control.greeting == "hello"
    assert type(app.control).revoke.__module__ == "celery_jobs.remote_control"
