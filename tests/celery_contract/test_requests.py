"""The class that Celery makes for the requests of each task still tells us of every end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from celery.contrib.testing.mocks import TaskMessage
from celery.worker.request import Request, create_request_cls

from celery_jobs import Jobs
from celery_jobs.worker.messenger import Messenger
from celery_jobs.worker.request import JobRequest
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery_contract.conftest import MakeApp


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[Messenger]:
    """Each ring of a messenger."""
    rung: list[Messenger] = []

    def ring(messenger: Messenger) -> None:
        rung.append(messenger)

    monkeypatch.setattr(Messenger, "ring", ring)
    return rung


def test_a_success_a_retry_and_a_failure_for_good_ring_for_the_messenger(app: Celery, rung: list[Messenger]) -> None:
    @app.task(name="works", shared=False)
    def works() -> None:
        pass

    @app.task(name="fails", shared=False, max_attempts=2)
    def fails() -> None:
        raise ValueError("no")

    with working(app):
        for name, ends in (("works", 1), ("fails", 2)):
            before = len(rung)
            Jobs(app).wait(app.tasks[name].delay().job_id, 40)
            wait_until(lambda before=before, ends=ends: len(rung) >= before + ends)  # type: ignore[misc]


def test_celery_makes_a_class_whose_on_success_calls_no_other(app: Celery) -> None:
    """That is why ours wraps it; where this fails, `JobRequest.__init_subclass__` can go."""

    @app.task(name="works", shared=False)
    def works() -> None:
        pass

    pool = SimpleNamespace(apply_async=None)
    made = create_request_cls(JobRequest, app.tasks["works"], pool, "here", None, app=app)
    assert made.__dict__["on_success"].__wrapped__.__qualname__.startswith("create_request_cls")


def test_celerys_testing_tools_make_messages_for_our_requests(app: Celery) -> None:
    """Their messages are Mocks: what Celery asks of a message may be asked, and no more."""

    @app.task(name="works", shared=False)
    def works() -> None:
        pass

    assert JobRequest(TaskMessage("works"), app=app, task=app.tasks["works"]).name == "works"


def test_a_tracer_can_be_taken_away_as_from_any_task(app: Celery) -> None:
    @app.task(name="works", shared=False)
    def works() -> None:
        pass

    works.__trace__ = lambda: None
    del works.__trace__
    assert works.__trace__ is None


class OwnRequest(Request):  # type: ignore[misc]
    """As Celery's guide shows it, "Requests and custom requests"."""

    failed: ClassVar[list[str]] = []

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        self.failed.append(self.task.name)


@pytest.mark.parametrize("given", [OwnRequest, f"{__name__}:OwnRequest"], ids=["a class", "a name"])
def test_a_tasks_own_request_class_is_called_and_its_jobs_are_recorded(new_app: MakeApp, given: Any) -> None:
    """Those of a producer without the plugin too, which only our class makes jobs of."""
    app, foreigner = new_app(), new_app(install=False)

    @app.task(name="fails", shared=False, max_attempts=2, Request=given)
    def fails() -> None:
        raise ValueError("no")

    OwnRequest.failed.clear()
    with working(app):
        for result in (fails.delay(), foreigner.send_task("fails")):
            with pytest.raises(ValueError, match="no"):
                result.get(timeout=40)
            run = wait_until(lambda result=result: (run := Jobs(app).get(result.id)).has_ended and run)  # type: ignore[misc]
            assert (run.final_status, run.attempt_number) == ("dead_lettered", 2)
    assert OwnRequest.failed == ["fails"] * 4  # Celery calls it for a retry too
