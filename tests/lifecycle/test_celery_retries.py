"""Celery's own retries, `self.retry` and `autoretry_for`: each a new attempt, none of them the policy's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.shop import DELAYS, OutOfStock
from tests.lifecycle.stories import assert_dense, verdicts, waits

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


def test_a_task_that_asks_again_makes_attempts_with_its_own_countdown(shop: Shop) -> None:
    result = shop.enqueue("asks_again", 3, 0.5)
    assert result.get(timeout=40) == "attempt 3"
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "success"), ("failed", "failed_with_retries"), ("completed", "success")]
    assert_dense(rows)
    assert [row.policy_retries for row in rows] == [0, 0, 0]
    assert [row.retries for row in rows] == [0, 1, 2]
    # The countdown runs from the call of `retry`, a little before the attempt's end.
    assert all(0.3 < wait <= 0.5 for wait in waits(rows))
    first, second, third = rows
    assert first.resolved_by == third.id
    assert [row.failure_reason for row in rows] == ["exception", "exception", None]
    assert (first.error_type, first.error_message) == ("tests.lifecycle.shop.OutOfStock", "attempt 1")
    assert (first.last_error_message, second.error_message) == ("attempt 2", "attempt 2")


def test_a_caller_sees_retry_while_the_retry_that_a_task_asked_for_waits(shop: Shop) -> None:
    result = shop.enqueue("asks_again", 2, 120)
    rows = shop.failed_once(result)
    assert verdicts(rows) == [("failed", "retrying"), ("pending", None)]
    assert rows[0].has_pending_retry
    assert rows[1].sent_at is None
    assert result.state == "RETRY"
    shop.jobs.cancel(result.id)


def test_the_policy_does_not_begin_again_when_a_task_that_asks_again_gives_up(shop: Shop) -> None:
    result = shop.enqueue("asks_again", 99, 0.1)
    with pytest.raises(OutOfStock, match="attempt 3"):
        result.get(timeout=40)
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered"), *[("failed", "failed_with_retries")] * 2]
    assert_dense(rows)
    assert rows[0].dead_lettered_at is not None
    assert not rows[0].has_pending_retry
    assert (rows[0].error_message, rows[0].last_error_message) == ("attempt 1", "attempt 3")
    assert [row.policy_retries for row in rows] == [0, 0, 0]


def test_retries_by_policy_do_not_count_against_celerys_max_retries(shop: Shop) -> None:
    result = shop.enqueue("asks_again_after_a_failure")
    with pytest.raises(OutOfStock, match="gone"):
        result.get(timeout=40)
    rows = shop.ended(result)
    assert [row.policy_retries for row in rows] == [0, 1, 1]
    assert verdicts(rows) == [("failed", "dead_lettered"), *[("failed", "failed_with_retries")] * 2]
    assert waits(rows)[0] == DELAYS[0]


def test_a_retry_without_throw_ends_the_attempt_where_the_task_returns(shop: Shop) -> None:
    result = shop.enqueue("asks_again_and_goes_on")
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "success"), ("completed", "success")]
    assert_dense(rows)
    assert rows[0].resolved_by == rows[1].id
    assert [row.result for row in rows] == [None, '"attempt 2"']
    assert result.get(timeout=40) == "attempt 2"


def test_a_caller_sees_retry_while_a_retry_without_throw_waits(shop: Shop) -> None:
    result = shop.enqueue("asks_again_and_goes_on", 120)
    rows = shop.failed_once(result)
    assert verdicts(rows) == [("failed", "retrying"), ("pending", None)]
    assert result.state == "RETRY"
    shop.jobs.cancel(result.id)


def test_a_task_that_raises_after_a_retry_without_throw_keeps_that_retry(shop: Shop) -> None:
    result = shop.enqueue("asks_again_and_raises", 120)
    rows = shop.failed_once(result)
    assert verdicts(rows) == [("failed", "retrying"), ("pending", None)]
    assert (rows[0].error_message, rows[1].policy_retries) == ("after the retry", 0)
    assert 119 < waits(rows)[0] <= 120
    assert result.state == "RETRY"
    shop.jobs.cancel(result.id)


def test_autoretry_gives_up_as_a_dead_letter_without_a_retry_by_policy(shop: Shop) -> None:
    result = shop.enqueue("autoretries")
    with pytest.raises(OutOfStock, match="still"):
        result.get(timeout=40)
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered"), ("failed", "failed_with_retries")]
    assert_dense(rows)
    assert [row.policy_retries for row in rows] == [0, 0]
    assert 0.8 < waits(rows)[0] <= 1  # the backoff's first step is 1 s
    assert [row.error_message for row in rows] == ["still", "still"]


def test_autoretry_that_gives_up_on_a_queue_without_retries_is_no_dead_letter(shop: Shop) -> None:
    rows = shop.ended(shop.enqueue("autoretries", queue="no-retries"))
    assert rows[0].final_status == "failed_no_retries"
    assert rows[0].dead_lettered_at is None


def test_errors_that_autoretry_does_not_name_are_the_policys(shop: Shop) -> None:
    rows = shop.ended(shop.enqueue("autoretries_other_errors", retry_delays=[0.1]))
    assert verdicts(rows) == [("failed", "dead_lettered"), ("failed", "failed_with_retries")]
    assert waits(rows) == [0.1]
    assert [row.policy_retries for row in rows] == [0, 1]
