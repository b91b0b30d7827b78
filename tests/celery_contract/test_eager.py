"""`apply()` and `task_always_eager`: no broker, no rows, retries of the policy at once, results as in Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.exceptions import Retry

from celery_jobs import InvalidJob, NoRetry, RetryAfter
from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads
from celery_jobs.store.filters import Filter
from tests.apps import make_app, working

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from tests.celery_contract.conftest import MakeApp

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def app(new_app: MakeApp) -> Celery:
    """Delays that no test waits for."""
    return new_app(jobs_queue_defaults={"retry_delays": [3600, 3600]}, jobs_queues={"off": {"retries_enabled": False}})


@pytest.fixture(params=["apply", "always_eager"])
def call(request: pytest.FixtureRequest, app: Celery) -> Callable[..., Any]:
    """Calls a task in either way."""
    if request.param == "apply":
        return lambda task, *args, **options: task.apply(args, **options)
    app.conf.task_always_eager = True
    return lambda task, *args, **options: task.apply_async(args, **options)


def failing(app: Celery, failures: int, error: Exception | None = None, **options: Any) -> tuple[Any, list[int]]:
    """A task that fails so often, and what `request.retries` its runs saw."""
    seen: list[int] = []

    @app.task(bind=True, name="flaky", shared=False, **options)
    def flaky(self: Any) -> str:
        seen.append(self.request.retries)
        if len(seen) <= failures:
            raise error or ValueError("not yet")
        return "done"

    return flaky, seen


def test_a_failure_is_tried_again_at_once_and_makes_no_rows(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=2)
    result = call(flaky)
    assert (result.get(), result.state, seen) == ("done", "SUCCESS", [0, 1, 2])
    assert reads.runs(plugin_of(app).db, Filter(), 10).chains == []


def test_what_uses_up_its_attempts_fails_with_its_own_error(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=9)
    result = call(flaky)
    with pytest.raises(ValueError, match="not yet"):
        result.get()
    assert (result.state, seen) == ("FAILURE", [0, 1, 2])


def test_errors_that_propagate_are_the_tasks_own_and_no_retry(app: Celery) -> None:
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    flaky, seen = failing(app, failures=9)
    with pytest.raises(ValueError, match="not yet"):
        flaky.delay()
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "runs"),
    [({"max_attempts": 1}, 1), ({"retry_delays": [1] * 4}, 5), ({"queue": "off"}, 1), ({"max_retries": 1}, 2)],
)
def test_the_policy_is_that_of_the_call_and_of_its_queue(
    app: Celery, call: Callable[..., Any], options: dict[str, Any], runs: int
) -> None:
    flaky, seen = failing(app, failures=9)
    call(flaky, **options)
    assert len(seen) == runs


def test_the_queue_is_where_the_task_is_routed(app: Celery, call: Callable[..., Any]) -> None:
    app.conf.task_routes = {"flaky": {"queue": "off"}}
    flaky, seen = failing(app, failures=9)
    call(flaky)
    assert seen == [0]


@pytest.mark.parametrize(
    ("error", "options"),
    [(NoRetry("no"), {}), (KeyError("no"), {"no_retry_for": (KeyError,)}), (KeyError("no"), {"max_attempts": 1})],
)
def test_what_cannot_help_is_not_tried(
    app: Celery, call: Callable[..., Any], error: Exception, options: dict[str, Any]
) -> None:
    flaky, seen = failing(app, 9, error, **options)
    call(flaky)
    assert seen == [0]


def test_nobody_waits_for_a_delay(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, 1, RetryAfter(3600))
    assert (call(flaky).get(), seen) == ("done", [0, 1])


def test_a_wrong_option_is_refused_as_anywhere(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=0)
    with pytest.raises(InvalidJob, match="max_attempts"):
        call(flaky, max_attempts=0)
    assert seen == []


def test_celerys_own_retries_are_not_counted_by_the_policy_nor_its_by_them(
    app: Celery, call: Callable[..., Any]
) -> None:
    seen: list[int] = []

    @app.task(bind=True, name="mixed", max_retries=2, shared=False)
    def mixed(self: Any) -> str:
        seen.append(self.request.retries)
        if len(seen) in (1, 3):
            raise ValueError("the policy's")
        if len(seen) in (2, 4):
            raise self.retry(countdown=3600)
        return "done"

    assert call(mixed).get() == "done"
    assert len(seen) == 5


def test_when_celerys_retries_give_up_the_policy_does_not_begin_again(app: Celery, call: Callable[..., Any]) -> None:
    seen: list[int] = []

    @app.task(bind=True, name="stubborn", max_retries=2, shared=False)
    def stubborn(self: Any) -> None:
        seen.append(self.request.retries)
        raise self.retry(exc=KeyError("mine"))

    result = call(stubborn)
    with pytest.raises(KeyError, match="mine"):
        result.get()
    assert seen == [0, 1, 2]


def test_autoretry_goes_before_the_policy(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=9, autoretry_for=(ValueError,), max_retries=1)
    with pytest.raises(ValueError, match="not yet"):
        call(flaky).get()
    assert seen == [0, 1]


def test_a_retry_that_does_not_raise_does_as_in_celery(app: Celery, call: Callable[..., Any]) -> None:
    @app.task(bind=True, name="quiet", shared=False)
    def quiet(self: Any) -> str:
        return type(self.retry(throw=False)).__name__

    assert call(quiet).get() == Retry.__name__


def test_canvas_goes_on_with_what_was_retried(app: Celery) -> None:
    flaky, _ = failing(app, failures=1)

    @app.task(name="join", shared=False)
    def join(parts: Any) -> str:
        return "+".join([parts] if isinstance(parts, str) else parts)

    app.conf.task_always_eager = True
    assert chain(flaky.s(), join.s()).apply_async().get() == "done"
    assert group(flaky.si(), flaky.si()).apply_async().get() == ["done", "done"]
    assert chord([flaky.si(), flaky.si()], join.s()).apply_async().get() == "done+done"


def test_a_call_inside_of_a_run_is_a_chain_of_its_own(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=9, max_attempts=2)
    outer_runs: list[int] = []

    @app.task(bind=True, name="outer", shared=False)
    def outer(self: Any) -> str:
        outer_runs.append(self.request.retries)
        state: str = flaky.apply().state
        if len(outer_runs) == 1:
            raise ValueError("once")
        return state

    assert call(outer).get() == "FAILURE"
    assert (outer_runs, seen) == ([0, 1], [0, 1, 0, 1])


def test_a_task_that_replaces_itself_has_all_its_attempts_again(app: Celery, call: Callable[..., Any]) -> None:
    runs: list[int] = []

    @app.task(bind=True, name="countdown", shared=False)
    def countdown(self: Any, left: int) -> None:
        runs.append(left)
        if left == 0 or runs.count(left) < 3:
            raise ValueError("not yet")
        self.replace(self.s(left - 1))

    assert call(countdown, 1).state == "FAILURE"
    assert runs == [1, 1, 1, 0, 0, 0]


def test_a_replacement_that_fails_does_not_bring_back_what_it_replaced(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=9)
    runs: list[int] = []

    @app.task(bind=True, name="replacing", shared=False)
    def replacing(self: Any) -> None:
        runs.append(self.request.retries)
        self.replace(flaky.si())

    assert call(replacing).state == "FAILURE"
    assert (runs, seen) == ([0], [0, 1, 2])


def test_arguments_stand_in_celerys_order(app: Celery) -> None:
    followed: list[str] = []

    @app.task(name="follow", shared=False)
    def follow(value: str) -> None:
        followed.append(value)

    @app.task(bind=True, name="hopeless", no_retry_for=(ValueError,), shared=False)
    def hopeless(self: Any) -> None:
        runs.append(self.request.retries)
        self.retry((), {}, ValueError("no use"))

    app.conf.task_always_eager = True
    runs: list[int] = []
    flaky, _ = failing(app, failures=0)
    assert (flaky.apply((), {}, follow.s(), None, "mine").id, followed) == ("mine", ["done"])
    assert (hopeless.apply().state, runs) == ("FAILURE", [0])


def test_a_direct_call_is_a_plain_call(app: Celery, call: Callable[..., Any]) -> None:
    flaky, seen = failing(app, failures=9)

    @app.task(name="direct", shared=False, max_attempts=1)
    def direct() -> None:
        flaky()

    call(direct)
    with pytest.raises(ValueError, match="not yet"):
        flaky()
    assert seen == [0, 0]


def test_an_eager_run_inside_of_a_job_gives_up_for_itself_alone(app: Celery) -> None:
    """Its own retries must not end those of the job that it runs in."""
    app.conf.jobs_queue_defaults = {"retry_delays": [0.1]}
    runs: list[str] = []

    @app.task(bind=True, name="inner", max_retries=0, shared=False)
    def inner(self: Any) -> None:
        runs.append("inner")
        self.retry()

    @app.task(name="job", shared=False)
    def job() -> str:
        runs.append("job")
        state: str = inner.apply().state
        if runs.count("job") == 1:
            raise ValueError("once")
        return state

    with working(app):
        assert job.delay().get(timeout=40) == "FAILURE"
    assert runs == ["job", "inner", "job", "inner"]


def test_neither_a_broker_nor_a_database_is_asked() -> None:
    app = make_app(NOWHERE, "postgresql://127.0.0.1:1/jobs", jobs_queue_defaults={"retry_delays": [1]})
    app.conf.task_always_eager = True
    flaky, seen = failing(app, failures=1)
    assert (flaky.delay().get(), seen) == ("done", [0, 1])
