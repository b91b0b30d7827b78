"""Asserting what was enqueued, dead letters and callbacks; what a failing assertion says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.testing import Sandbox

URL = "https://shop.example/hook"


@pytest.fixture
def charge(app: Celery) -> Any:
    @app.task(name="shop.charge", bind=True)
    def charge(self: Any, order: Any, currency: str = "EUR", works_on: int = 1) -> Any:
        if self.request.retries + 1 < works_on:
            raise ValueError(f"attempt {self.request.retries + 1}")
        return order

    return charge


def test_what_was_enqueued_is_found_by_task_arguments_queue_and_options(charge: Any, sandbox: Sandbox) -> None:
    charge.delay(41)
    charge.apply_async((42,), {"currency": "USD"}, queue="money", tags=["vip"], idempotency_key="order-42")
    found = sandbox.assert_enqueued(charge, args=(42,), kwargs={"currency": "USD"}, queue="money", tags=["vip"])
    assert found == sandbox.assert_enqueued("shop.charge", idempotency_key="order-42", times=1)
    assert [run.queue for run in sandbox.enqueued(charge)] == ["celery", "money"]
    assert sandbox.enqueued(queue="money") == [found]
    sandbox.assert_not_enqueued(charge, args=(43,))
    sandbox.assert_not_enqueued("shop.refund")


def test_the_last_of_several_is_given(charge: Any, sandbox: Sandbox) -> None:
    charge.delay(1)
    last = charge.delay(1)
    assert sandbox.assert_enqueued(charge, args=(1,), times=2).id == last.job_id


def test_a_duplicate_is_enqueued_once(charge: Any, sandbox: Sandbox) -> None:
    first, second = (charge.apply_async((1,), idempotency_key="one") for _ in range(2))
    assert (second.id, second.deduplicated) == (first.id, True)
    sandbox.assert_enqueued(charge, times=1)
    assert len(sandbox.drain()) == 1


@pytest.mark.parametrize("options", [{"delay": 1800}, {"countdown": 1800}])
def test_a_delay_is_exact_and_held_in_sql(charge: Any, sandbox: Sandbox, options: dict[str, Any]) -> None:
    charge.apply_async((1,), **options)
    run = sandbox.assert_enqueued(charge, delay=1800)
    assert sandbox.enqueued(charge, delay=timedelta(minutes=30)) == [run]
    assert run.attempts[0].sent_at is None
    sandbox.assert_not_enqueued(charge, delay=0)


def test_a_moment_on_the_virtual_clock_is_a_delay(charge: Any, sandbox: Sandbox) -> None:
    sandbox.advance(86_400)
    charge.apply_async((1,), eta=sandbox.now + timedelta(seconds=90))
    sandbox.assert_enqueued(charge, delay=90)


def test_what_is_compared_has_been_over_the_wire(charge: Any, sandbox: Sandbox) -> None:
    moment = datetime(2026, 4, 10)
    charge.delay((1, {"at": moment}), 7)
    sandbox.assert_enqueued(charge, args=[(1, {"at": moment}), 7])
    sandbox.assert_enqueued(charge, args=([1, ANY], 7))
    sandbox.assert_not_enqueued(charge, args=([1, ANY],))
    sandbox.assert_not_enqueued(charge, args=((1, {"at": moment}), "7"))


def test_what_was_enqueued_stays_so_when_it_has_run(charge: Any, sandbox: Sandbox) -> None:
    charge.delay(1, works_on=2)
    sandbox.drain()
    assert sandbox.assert_enqueued(charge, times=1).final_status == "success"


def test_a_failing_assertion_lists_what_was_enqueued(charge: Any, sandbox: Sandbox) -> None:
    charge.delay(41)
    charge.apply_async((42,), {"currency": "USD"}, queue="money", delay=1800)
    sandbox.run_due()
    with pytest.raises(AssertionError) as failed:
        sandbox.assert_enqueued(charge, args=(43,), queue="money", priority=5)
    assert str(failed.value) == (
        "shop.charge(43, **…) queue='money' priority=5 was not enqueued; enqueued were:\n"
        "  shop.charge(41) queue='celery', priority=0 [success]\n"
        "  shop.charge(42, currency='USD') queue='money', delay=1800, priority=0 [pending]"
    )


def test_a_failing_count_and_a_failing_absence_say_so(charge: Any, sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match=r"shop\.charge\(…\) was not enqueued; nothing was enqueued"):
        sandbox.assert_enqueued(charge)
    charge.delay(1)
    with pytest.raises(AssertionError, match=r"shop\.charge\(…\) was enqueued 1 times, not 2; enqueued were:"):
        sandbox.assert_enqueued(charge, times=2)
    with pytest.raises(AssertionError, match=r"any task\(…\) was enqueued; enqueued were:\n  shop\.charge\(1\)"):
        sandbox.assert_not_enqueued()


def test_a_mistaken_question_is_refused(charge: Any, sandbox: Sandbox) -> None:
    with pytest.raises(TypeError, match=r"a job has no colour; it has .*priority"):
        sandbox.assert_not_enqueued(charge, colour="red")
    with pytest.raises(TypeError, match="a task or its name is expected, not 42"):
        sandbox.enqueued(42)
    with pytest.raises(ValueError, match="use assert_not_enqueued"):
        sandbox.assert_enqueued(charge, times=0)


def test_runs_are_given_in_the_order_of_their_enqueue_and_a_long_listing_is_cut(charge: Any, sandbox: Sandbox) -> None:
    for number in range(60):
        charge.delay(number)
    assert [run.result for run in sandbox.drain()] == list(range(60))
    assert [run.result for run in sandbox.enqueued()] == list(range(60))
    with pytest.raises(AssertionError, match=r"the last 50 of 60 enqueued were:\n  shop\.charge\(10\)"):
        sandbox.assert_enqueued(charge, args=(60,))


def test_dead_letters_are_listed_oldest_first(charge: Any, sandbox: Sandbox) -> None:
    later = charge.apply_async((1,), {"works_on": 9}, retry_delays=[600])
    sooner = charge.apply_async((2,), {"works_on": 9}, retry_delays=[10])
    sandbox.drain()
    assert [run.task_id for run in sandbox.dead_letters] == [sooner.id, later.id]


def test_callbacks_are_the_documented_bodies_in_order_of_time(charge: Any, sandbox: Sandbox) -> None:
    charge.apply_async((1,), {"works_on": 9}, callback_url=URL, retry_delays=[60, 1800])
    charge.apply_async((2,), callback_url=URL, delay=90)
    charge.delay(3)
    sandbox.drain()
    dead, success, _ = sandbox.enqueued()
    first, second, third = dead.attempts
    assert [(callback.url, callback.body) for callback in sandbox.callbacks] == [
        (URL, body(first, "retrying")),
        (URL, body(second, "failed_with_retries")),
        (URL, body(success.attempts[0], "success")),
        (URL, {**body(third, "dead_lettered"), "job_id": first.id}),
    ]


def body(attempt: Any, status: str) -> dict[str, Any]:
    return {
        "type": "job_execution",
        "job_id": attempt.id,
        "status": status,
        "response_status": None,
        "duration_ms": attempt.duration_ms,
        "error_message": attempt.error_message,
        "attempt_number": attempt.attempt_number,
        "completed_at": f"{attempt.finished_at:%Y-%m-%dT%H:%M:%S}Z",
        "original_job_id": attempt.original_id,
        "queue": "celery",
        "task": "shop.charge",
    }
