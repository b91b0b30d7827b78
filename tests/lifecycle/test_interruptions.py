"""Attempts that end in another way than by returning or raising: timed out, ignored, rejected, replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeLimitExceeded

from tests.lifecycle.shop import DELAYS
from tests.lifecycle.stories import assert_dense, seconds_between, verdicts, waits

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


def test_a_task_that_raises_ignore_is_completed_without_a_result(shop: Shop) -> None:
    result = shop.enqueue("ignores")
    rows = shop.ended(result)
    assert verdicts(rows) == [("completed", "success")]
    assert rows[0].result is None
    assert (rows[0].failure_reason, rows[0].error_type, rows[0].last_error_type) == (None, None, None)
    assert result.state == "PENDING"


def test_a_task_that_rejects_for_good_is_a_dead_letter_at_once(shop: Shop) -> None:
    result = shop.enqueue("rejects")
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered")]
    assert rows[0].failure_reason == "no_retry"
    assert rows[0].dead_lettered_at is not None
    assert rows[0].last_error_message
    with pytest.raises(Reject):
        result.get(timeout=40)
    assert result.state == "FAILURE"


def test_a_task_that_rejects_for_good_without_retries_is_no_dead_letter(shop: Shop) -> None:
    rows = shop.ended(shop.enqueue("rejects", queue="no-retries"))
    assert verdicts(rows) == [("failed", "failed_no_retries")]
    assert rows[0].failure_reason == "no_retry"


@pytest.mark.parametrize("task", ["rejects_at_first", "rejects_at_first_and_acknowledges_late"])
def test_a_task_that_rejects_to_be_requeued_burns_nothing(shop: Shop, task: str) -> None:
    file = shop.new_file()
    result = shop.enqueue(task, str(file))
    assert result.get(timeout=40) == 2
    assert len(file.read_text().splitlines()) == 2
    rows = shop.ended(result)
    assert verdicts(rows) == [("completed", "success")]
    only = rows[0]
    assert (only.attempt_number, only.retries, only.policy_retries, only.losses) == (1, 0, 0, 0)
    assert (only.failure_reason, only.error_type, only.last_error_type) == (None, None, None)


def test_a_task_that_replaces_itself_is_completed_and_names_the_replacement(shop: Shop) -> None:
    result = shop.enqueue("replaces_itself", 41)
    assert result.get(timeout=40) == 42
    (replaced,) = shop.ended(result)
    assert replaced.replaced_by is not None
    (replacement,) = shop.ended(shop.app.AsyncResult(replaced.replaced_by))
    assert verdicts([replacement]) == [("completed", "success")]
    assert (replacement.task, replacement.task_id, replacement.result) == ("add", result.id, "42")
    assert replacement.nesting == 1
    assert (replaced.status, replaced.final_status) == ("completed", "success")
    assert (replaced.task, replaced.task_id, replaced.result) == ("replaces_itself", result.id, None)
    assert replaced.id != replacement.id
    assert replacement.original_id == replacement.id
    assert replacement.attempt_number == 1
    assert seconds_between(replaced.created_at, replacement.created_at) > 0


def test_a_replacement_that_fails_retries_by_policy_as_a_chain_of_its_own(shop: Shop) -> None:
    result = shop.enqueue("replaces_itself_by_what_works_later", 2)
    assert result.get(timeout=40) == 42
    (replaced,) = shop.ended(result)
    assert verdicts([replaced]) == [("completed", "success")]
    assert replaced.replaced_by is not None
    rows = shop.ended(shop.app.AsyncResult(replaced.replaced_by))
    assert verdicts(rows) == [("failed", "success"), ("completed", "success")]
    assert_dense(rows)
    assert waits(rows) == DELAYS[:1]
    assert rows[0].id == replaced.replaced_by


LIMITS = {
    "soft": ({"soft_time_limit": 1}, SoftTimeLimitExceeded),
    "hard": ({"time_limit": 1}, TimeLimitExceeded),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_time_limit_ends_the_attempt_and_the_policy_retries_it(shop: Shop, kind: str) -> None:
    options, error = LIMITS[kind]
    result = shop.enqueue("hangs_at_first", **options)
    assert result.get(timeout=40) == "quick"
    assert result.state == "SUCCESS"
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "success"), ("completed", "success")]
    assert_dense(rows)
    assert waits(rows) == DELAYS[:1]
    first = rows[0]
    assert first.failure_reason == "timeout"
    assert first.error_type is not None
    assert first.error_type.endswith(error.__name__)
    assert first.last_error_type == first.error_type
    assert first.losses == 0
    assert first.duration_ms is not None
    assert 900 <= first.duration_ms <= 5000
    assert rows[1].losses == 0


@pytest.mark.parametrize("kind", LIMITS)
def test_a_time_limit_that_exhausts_the_attempts_is_a_dead_letter(shop: Shop, kind: str) -> None:
    options, error = LIMITS[kind]
    result = shop.enqueue("hangs", queue="once", **options)
    with pytest.raises(error):
        result.get(timeout=40)
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered")]
    assert rows[0].failure_reason == "timeout"
    assert rows[0].losses == 0
    assert result.state == "FAILURE"


def test_a_task_that_handles_its_soft_limit_succeeds(shop: Shop) -> None:
    result = shop.enqueue("survives_its_soft_limit", soft_time_limit=1)
    assert result.get(timeout=40) == "cleaned up"
    assert verdicts(shop.ended(result)) == [("completed", "success")]


@pytest.mark.parametrize(
    ("way", "runs", "reason"),
    [
        ("fails", 1, "exception"),
        ("hangs", 1, "timeout"),
        pytest.param("dies", 3, "worker_lost", marks=pytest.mark.matrix),
    ],
)
def test_a_message_that_celery_gives_back_runs_nothing_again(shop: Shop, way: str, runs: int, reason: str) -> None:
    """`acks_on_failure=False` and the like: in bare Celery such a task may go round for ever."""
    file = shop.new_file()
    options = {"time_limit": 1} if way == "hangs" else {}
    result = shop.enqueue("asks_the_broker_to_send_it_again", str(file), way, max_attempts=1, **options)
    rows = shop.ended(result, timeout=40)
    assert verdicts(rows) == [("failed", "dead_lettered")]
    assert rows[0].failure_reason == reason
    shop.ended(shop.enqueue("add", 1, 2))
    assert len(file.read_text().splitlines()) == runs
