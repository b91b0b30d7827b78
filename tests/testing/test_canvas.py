"""Chains, groups, chords, links and Flask's task class in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Task, chain, chord, group
from celery.exceptions import ChordError

import celery_jobs
from tests.apps import make_app
from tests.testing.conftest import NO_FILE, NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.testing import Sandbox


@pytest.fixture
def tasks(app: Celery) -> dict[str, Any]:
    @app.task(name="add", bind=True)
    def add(self: Any, x: int, y: int, works_on: int = 1) -> int:
        if self.request.retries + 1 < works_on:
            raise ValueError("not yet")
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fails", max_attempts=1)
    def fails(*_: Any) -> None:
        raise ValueError("broken")

    return {"add": add, "total": total, "fails": fails}


def test_a_chain_goes_on_after_a_step_that_needed_a_retry(tasks: dict[str, Any], sandbox: Sandbox) -> None:
    add = tasks["add"]
    result = chain(add.s(1, 1), add.s(5, works_on=2), add.s(1)).apply_async()
    assert [run.attempt_number for run in sandbox.drain()] == [1, 2, 1]
    assert result.get() == 8


def test_run_to_end_leaves_the_next_step_of_a_chain_waiting(tasks: dict[str, Any], sandbox: Sandbox) -> None:
    add = tasks["add"]
    result = chain(add.s(1, 1), add.s(5)).apply_async()
    assert sandbox.run_to_end(result.parent.id).result == 2
    assert sandbox.jobs.get(result.id).status == "pending"


def test_a_failed_step_fails_its_chain(tasks: dict[str, Any], sandbox: Sandbox) -> None:
    result = chain(tasks["fails"].s(), tasks["add"].s(1)).apply_async()
    assert len(sandbox.drain()) == 1
    with pytest.raises(ValueError, match="broken"):
        result.get()


def test_a_group_and_its_retries_give_their_results(tasks: dict[str, Any], sandbox: Sandbox) -> None:
    add = tasks["add"]
    result = group(add.s(n, 10, works_on=n) for n in (1, 2, 3)).apply_async()
    sandbox.drain()
    assert result.get() == [11, 12, 13]


def test_a_chords_body_runs_when_its_header_is_done(tasks: dict[str, Any], sandbox: Sandbox) -> None:
    add = tasks["add"]
    result = chord([add.s(1, 2), add.s(3, 4, works_on=3)])(tasks["total"].s())
    assert [run.task for run in sandbox.run_due()] == ["add", "add"]
    assert [run.task for run in sandbox.drain()] == ["add", "total"]
    assert result.get() == 10


def test_a_dead_member_fails_its_chord(tasks: dict[str, Any], sandbox: Sandbox) -> None:
    result = chord([tasks["add"].s(1, 2), tasks["fails"].s()])(tasks["total"].s())
    sandbox.drain()
    assert isinstance(result.result, ChordError)
    sandbox.assert_not_enqueued("total")


def test_a_chain_through_a_chord_and_a_replacement_by_a_group_run_to_the_end(
    app: Celery, tasks: dict[str, Any], sandbox: Sandbox
) -> None:
    add, total = tasks["add"], tasks["total"]

    @app.task(name="spread", bind=True)
    def spread(self: Any) -> Any:
        return self.replace(group(add.s(n, 1) for n in range(3)))

    result = chain(spread.si(), total.s(), add.s(100)).apply_async()
    sandbox.drain()
    assert result.get() == 106


def test_links_and_errbacks_are_jobs_of_their_own(app: Celery, tasks: dict[str, Any], sandbox: Sandbox) -> None:
    seen: list[Any] = []

    @app.task(name="report")
    def report(value: Any) -> None:
        seen.append(value)

    tasks["add"].apply_async((1, 2), link=report.s())
    failed = tasks["fails"].apply_async(link_error=report.s())
    sandbox.drain()
    assert seen == [3, failed.id]
    assert len(sandbox.enqueued(report)) == 2


def test_tasks_that_are_no_jobs_are_run_too_in_their_time(app: Celery, tasks: dict[str, Any], sandbox: Sandbox) -> None:
    @app.task(name="plain", base=Task, bind=True)
    def plain(self: Any) -> str:
        if self.request.retries == 0:
            raise self.retry(countdown=3600)
        return str(sandbox.now)

    late, mapped = plain.delay(), tasks["add"].starmap([(1, 2), (3, 4)]).apply_async()
    began = sandbox.now
    assert sandbox.drain() == []
    assert mapped.get() == [3, 7]
    assert (sandbox.now - began).total_seconds() == pytest.approx(3600, abs=1)
    assert late.get() == str(sandbox.now)


def test_flasks_task_class_enters_its_context(jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    """Flask's documented class overrides __call__ and calls run."""
    entered: list[int] = []

    class FlaskTask(Task):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            entered.append(1)
            return self.run(*args, **kwargs)

    app = make_app(NOWHERE, NO_FILE, install=False)
    app.task_cls = FlaskTask
    celery_jobs.install(app)

    @app.task(name="flaky", bind=True)
    def flaky(self: Any) -> str:
        if self.request.retries == 0:
            raise ValueError("first")
        return "second"

    sandbox = jobs_sandbox(app)
    flaky.delay()
    assert sandbox.drain()[0].result == "second"
    assert len(entered) == 2
