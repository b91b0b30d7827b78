"""HTTP jobs as steps of a canvas: a wrong one is refused with the whole, or fails alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, chain, chord, group

from celery_jobs import ArgumentsDoNotFit, InvalidJob, submitting
from celery_jobs.plugin import HTTP_TASK
from tests.outgoing.servers import answer, answers, serving
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.canvas import Signature

    from celery_jobs import Jobs, Run
    from celery_jobs.testing import Sandbox

URL = "http://api.example.com/"


def call(app: Celery, **arguments: Any) -> Signature:
    """A call that is handed the result of the step before."""
    return app.tasks[HTTP_TASK].s(**{"url": URL, **arguments})


def alone(app: Celery, **arguments: Any) -> Signature:
    return app.tasks[HTTP_TASK].si(**{"url": URL, **arguments})


CANVASES: dict[str, Callable[[Celery], Any]] = {
    "chain": lambda app: chain(call(app), call(app)),
    "third step": lambda app: chain(call(app), alone(app), call(app)),
    "after another task": lambda app: chain(app.tasks["naps"].s(1), call(app)),
    "after what is no job": lambda app: chain(app.tasks["plain"].s(1), call(app)),
    "a group's chain": lambda app: group(chain(call(app), call(app)), call(app)),
    "a group in a chain": lambda app: chain(alone(app), group(alone(app), call(app))),
    "a chain in a group in a chain": lambda app: chain(alone(app), group(alone(app), chain(alone(app), call(app)))),
    "the body of a chord": lambda app: chord([alone(app), alone(app)], call(app)),
    "a chord in a chain": lambda app: chain(alone(app), chord([call(app), alone(app)], alone(app))),
    "a link": lambda app: call(app).on_error(alone(app)) | alone(app).set(link=[call(app)]),
    "an errback": lambda app: call(app).on_error(call(app)),
}


@pytest.mark.parametrize("canvas", CANVASES.values(), ids=list(CANVASES))
def test_a_step_that_would_be_handed_a_result_is_refused_with_the_whole(
    app: Celery, sandbox: Sandbox, canvas: Callable[[Celery], Any]
) -> None:
    with pytest.raises(InvalidJob, match=r"args: .+ keyword arguments only; .+ write \.si\(\) for \.s\(\)"):
        canvas(app).apply_async()
    assert sandbox.drain() == []


@pytest.mark.parametrize(("wrong", "field"), [({"url": "ftp://x"}, "url"), ({"metod": "GET"}, "metod")])
def test_a_later_step_is_checked_with_the_whole(
    app: Celery, sandbox: Sandbox, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidJob) as refused:
        chain(call(app), alone(app, **wrong)).apply_async()
    assert sandbox.drain() == []
    assert refused.value.field == field


@pytest.mark.parametrize("given", [{"args": (URL,)}, {"kwargs": {}}, {"kwargs": {"url": URL, "metod": "GET"}}], ids=str)
def test_a_call_that_does_not_fit_is_refused_as_any_other_fault(
    app: Celery, sandbox: Sandbox, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJob):
        app.tasks[HTTP_TASK].apply_async(**given)


def test_steps_that_are_handed_nothing_run(app: Celery, sandbox: Sandbox) -> None:
    sandbox.respond(URL, body="ok")
    step = alone(app)
    chain(call(app), step, group(step, chain(step, step)), step).apply_async()
    runs = sandbox.drain()
    assert [run.final_status for run in runs] == ["success"] * 6


def test_what_is_published_at_the_end_of_another_call_is_a_job_that_fails(app: Celery, sandbox: Sandbox) -> None:
    app.tasks[HTTP_TASK].apply_async((7,), {"url": URL}, parent_id="another", root_id="another")
    (run,) = sandbox.drain()
    assert (run.final_status, run.failure_reason, run.attempt_number) == ("dead_lettered", "no_retry", 1)
    with pytest.raises(ArgumentsDoNotFit, match="too many positional arguments"):
        sandbox.jobs.replay(run.id)


@pytest.mark.slow
class TestUnseen:
    """What was sent by an app that does not check."""

    @pytest.fixture(autouse=True)
    def unchecked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submitting, "_check_calls", lambda *_: None)

    def send(self, jobs: Jobs, canvas: Signature, count: int) -> list[Run]:
        """The runs that come of it, once all have ended."""
        before = {run.id for run in jobs.list(task=HTTP_TASK)}
        canvas.apply_async(queue="celery")

        def ended() -> list[Run]:
            runs = [run for run in jobs.list(task=HTTP_TASK) if run.id not in before]
            return runs if len(runs) == count and all(run.ended_at for run in runs) else []

        runs = wait_until(ended, 30)
        return sorted(runs, key=lambda run: run.created_at)

    @pytest.mark.parametrize("kind", ["chain", "link", "chord"])
    def test_a_step_that_is_handed_a_result_fails_alone(self, shop: Celery, jobs: Jobs, kind: str) -> None:
        with serving(answers(answer(b"ok"))) as server:
            one, wrong = (shop.signature(HTTP_TASK, kwargs={"url": server.url}) for _ in range(2))
            canvas = {
                "chain": lambda: chain(one, wrong, app=shop),
                "link": lambda: one.set(link=[wrong]),
                "chord": lambda: chord([one, one.clone()], wrong, app=shop),
            }[kind]()
            *fine, failed = self.send(jobs, canvas, 3 if kind == "chord" else 2)
        assert {run.final_status for run in fine} == {"success"}
        assert (failed.final_status, failed.failure_reason, failed.attempt_number) == ("dead_lettered", "no_retry", 1)
        assert "write .si() for .s()" in str(failed.error_message)

    def test_an_errback_that_is_handed_an_id_fails_alone(self, shop: Celery, jobs: Jobs) -> None:
        wrong = shop.signature(HTTP_TASK, kwargs={"url": URL})
        canvas = shop.signature(HTTP_TASK, kwargs={"url": "ftp://x"}).on_error(wrong)
        first, errback = self.send(jobs, canvas, 2)
        assert (first.failure_reason, errback.failure_reason) == ("invalid_url", "no_retry")
