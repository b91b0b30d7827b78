"""One event for each transition of a job, in order, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import NoRetry
from celery_jobs.events import Event, Kind
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.testing import Sandbox

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def sandbox(jobs_sandbox: Callable[..., Sandbox]) -> Sandbox:
    app = make_app(NOWHERE, "sqlite:///unused", jobs_queue_defaults={"retry_delays": [60]}, jobs_redact=["card"])

    @app.task(name="shop.pay", bind=True, shared=False)
    def pay(self: Any, fails: int = 0, never: bool = False) -> str:
        if never:
            raise NoRetry("card=4242")
        if self.request.retries < fails:
            raise ValueError("declined")
        return "paid"

    return jobs_sandbox(app)


def kinds(heard: list[Event]) -> list[str]:
    """What happened since the last look."""
    found = [event.kind.removeprefix("job.") for event in heard if event.kind.startswith("job.")]
    heard.clear()
    return found


def test_a_job_that_works(sandbox: Sandbox, heard: list[Event]) -> None:
    sandbox.jobs.enqueue("shop.pay")
    sandbox.drain()
    assert kinds(heard) == ["enqueued", "started", "completed"]


def test_a_retry_says_which_job_comes_next_and_when(sandbox: Sandbox, heard: list[Event]) -> None:
    run = sandbox.jobs.enqueue("shop.pay", kwargs={"fails": 1})
    run = sandbox.run_to_end(run.id)
    (retried,) = [event for event in heard if event.kind is Kind.RETRIED]
    assert retried.details == {"next_job_id": run.attempts[1].id, "scheduled_at": run.attempts[1].scheduled_at}
    assert kinds(heard) == ["enqueued", "started", "retried", "started", "completed"]


def test_a_dead_letter_replayed_and_purged(sandbox: Sandbox, heard: list[Event]) -> None:
    dead = sandbox.run_to_end(sandbox.jobs.enqueue("shop.pay", kwargs={"fails": 2}).id)
    assert kinds(heard)[-1] == "dead_lettered"
    sandbox.jobs.replay(dead.id)
    sandbox.jobs.purge(dead.id)
    assert kinds(heard) == ["replayed", "purged"]


def test_each_event_of_a_job_has_its_tags(sandbox: Sandbox, heard: list[Event]) -> None:
    made = sandbox.jobs.enqueue("shop.pay", kwargs={"fails": 2}, tags={"card": "4242", "kind": "vip"})
    dead = sandbox.run_to_end(made.id)
    sandbox.jobs.cancel(sandbox.jobs.replay(dead.id).id)
    sandbox.jobs.purge(dead.id)
    told = [event for event in heard if event.kind.startswith("job.")]
    assert [event.tags for event in told] == [{"card": "***", "kind": "vip"}] * 8
    steps = ["enqueued", "started", "retried", "started", "dead_lettered", "replayed", "cancelled", "purged"]
    assert kinds(heard) == steps


def test_many_at_once_are_told_one_by_one(sandbox: Sandbox, heard: list[Event]) -> None:
    sandbox.jobs.enqueue_many([{"task": "shop.pay"}] * 3, delay=3600)
    assert kinds(heard) == ["enqueued"] * 3
    sandbox.jobs.fire_many(queue="celery")
    assert kinds(heard) == ["fired"] * 3
    sandbox.jobs.cancel_many(queue="celery")
    assert kinds(heard) == ["cancelled"] * 3
    sandbox.jobs.delete_many(queue="celery")
    assert kinds(heard) == ["deleted"] * 3


def test_what_is_masked_is_masked_in_events(sandbox: Sandbox, heard: list[Event]) -> None:
    sandbox.run_to_end(sandbox.jobs.enqueue("shop.pay", kwargs={"never": True}).id)
    assert heard[-1].kind is Kind.DEAD_LETTERED
    assert heard[-1].details["error"] == "card=***"
