"""Runs that are cancelled while they run: they may ask, stop by raising, or go on; Celery hears what SQL says."""

from __future__ import annotations

from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Reject

from celery_jobs import Cancelled
from celery_jobs.cancellation import StopSign
from celery_jobs.errors import StoreUnavailable
from celery_jobs.store import attempts
from tests.testing.test_running import verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.testing import Sandbox

CANCELLED = [("cancelled", "cancelled")]


def nothing() -> None:
    pass


def test_a_task_that_asks_hears_of_its_cancel_within_a_second_and_stops(app: Celery, sandbox: Sandbox) -> None:
    heard: list[bool] = []

    @app.task(name="asks", bind=True)
    def asks(self: Any) -> None:
        heard.append(self.is_cancelled())
        sandbox.jobs.cancel(self.request.id)
        heard.append(self.is_cancelled())
        sandbox.advance(1)
        heard.append(asks.is_cancelled())
        raise Cancelled("after 1 of 3")

    result = asks.delay()
    [run] = sandbox.drain()
    assert heard == [False, False, True]
    assert verdicts(run) == CANCELLED
    assert (run.attempt_number, run.error_message, run.dead_lettered_at) == (1, "after 1 of 3", None)
    assert result.state == "REVOKED"
    assert sandbox.jobs.check() == []


def test_the_database_is_asked_once_a_second_and_a_yes_is_remembered(
    app: Celery, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    ask = StopSign._ask

    def note(sign: StopSign) -> bool:
        asked.append(ask(sign))
        return asked[-1]

    monkeypatch.setattr(StopSign, "_ask", note)

    @app.task(name="asks", bind=True)
    def asks(self: Any) -> str:
        for _ in range(30):
            self.is_cancelled()
            sandbox.advance(0.1)
        sandbox.jobs.cancel(self.request.id)
        for _ in range(30):
            self.is_cancelled()
            sandbox.advance(0.1)
        return "went on"

    asks.delay()
    [run] = sandbox.drain()
    assert asked == [False, False, False, True]
    assert verdicts(run) == [("completed", "success")]


def test_a_database_that_does_not_answer_is_a_no_and_a_slow_one_is_left_in_peace(
    app: Celery, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def away(_: Any, job_id: str, within: float) -> bool:
        asked.append(within)
        sandbox.advance(within)
        raise StoreUnavailable("the jobs database does not answer")

    @app.task(name="asks", bind=True)
    def asks(self: Any) -> list[bool]:
        heard = []
        with monkeypatch.context() as patch:
            patch.setattr(attempts, "is_cancel_requested", away)
            for _ in range(30):
                heard.append(self.is_cancelled())
                sandbox.advance(1)
        return heard

    asks.delay()
    [run] = sandbox.drain()
    assert (run.final_status, run.result) == ("success", [False] * 30)
    # It took the database's timeout of 10 s, and is asked again when ten times as long have passed.
    assert asked == [10]


def test_a_task_may_end_its_own_run_as_cancelled(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="finds_out", autoretry_for=(Exception,))
    def finds_out() -> None:
        raise Cancelled("the order was withdrawn")

    errback = app.task(name="errback")(nothing)
    result = finds_out.apply_async(
        callback_url="https://shop.example/told", link_error=errback.si(), link=errback.si(), max_attempts=5
    )
    [run] = sandbox.drain()
    assert verdicts(run) == CANCELLED
    assert (run.cancel_requested_at, run.error_type) == (None, "celery_jobs.errors.Cancelled")
    assert [callback.body["status"] for callback in sandbox.callbacks] == ["cancelled"]
    assert result.state == "REVOKED"
    assert sandbox.jobs.check() == []


def raises(self: Any) -> None:
    raise ValueError("while it stopped")


def asks_for_a_retry_first(self: Any) -> None:
    self.retry(countdown=1, throw=False)
    raise Cancelled


def retries_for_it(self: Any) -> None:
    raise self.retry(exc=Cancelled("no"), countdown=1)


def rejects(self: Any) -> None:
    raise Reject("no")


def gives_back(self: Any) -> None:
    raise Reject("later", requeue=True)


@pytest.mark.parametrize("end", [raises, asks_for_a_retry_first, retries_for_it, rejects, gives_back])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_however_a_cancelled_run_fails_it_is_cancelled_and_its_caller_hears_so(
    app: Celery, sandbox: Sandbox, end: Callable[[Any], None], max_attempts: int
) -> None:
    @app.task(name="ends", bind=True)
    def ends(self: Any) -> None:
        sandbox.jobs.cancel(self.request.id)
        end(self)

    errback = app.task(name="errback")(nothing)
    result = ends.apply_async(max_attempts=max_attempts, link_error=errback.si())
    [run] = sandbox.drain()  # no errback, as of all that is revoked
    assert verdicts(run) == CANCELLED
    assert result.state == "REVOKED"
    assert sandbox.jobs.check() == []


def test_a_retry_for_cancelled_is_none(app: Celery, sandbox: Sandbox) -> None:
    app.task(name="ends", bind=True)(retries_for_it).delay()
    [run] = sandbox.drain()
    assert verdicts(run) == CANCELLED


def test_where_celerys_own_retries_give_up_too(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="ends", bind=True, autoretry_for=(ValueError,), max_retries=0)
    def ends(self: Any) -> None:
        sandbox.jobs.cancel(self.request.id)
        raise ValueError("no")

    result = ends.delay()
    [run] = sandbox.drain()
    assert verdicts(run) == CANCELLED
    assert result.state == "REVOKED"


def test_outside_of_a_run_nobody_is_cancelled(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="inner", bind=True)
    def inner(self: Any) -> bool:
        return bool(self.is_cancelled())

    @app.task(name="outer", bind=True)
    def outer(self: Any) -> list[bool]:
        sandbox.jobs.cancel(self.request.id)
        return [inner(), inner.apply().get(disable_sync_subtasks=False)]

    assert inner() is False
    outer.delay()
    [run] = sandbox.drain()
    assert run.result == [True, False]  # a call of a function belongs to the run that makes it


def test_a_thread_of_the_task_asks_in_a_copy_of_its_context(app: Celery, sandbox: Sandbox) -> None:
    heard: list[bool] = []

    @app.task(name="threaded", bind=True)
    def threaded(self: Any) -> None:
        sandbox.jobs.cancel(self.request.id)
        inside = Thread(target=copy_context().run, args=(lambda: heard.append(self.is_cancelled()),))
        outside = Thread(target=lambda: heard.append(self.is_cancelled()))
        for thread in (inside, outside):
            thread.start()
            thread.join()

    threaded.delay()
    sandbox.drain()
    assert heard == [True, False]


def test_cancelled_is_raised_by_a_direct_call_and_ends_an_eager_one(app: Celery) -> None:
    runs: list[int] = []

    @app.task(name="finds_out", shared=False)
    def finds_out() -> None:
        runs.append(1)
        raise Cancelled("no")

    with pytest.raises(Cancelled):
        finds_out()
    with pytest.raises(Cancelled):
        finds_out.apply().get()
    assert len(runs) == 2
