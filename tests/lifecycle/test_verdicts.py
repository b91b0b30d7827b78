"""How a chain ends: the rows of "Worked chains" that are decided by what a task returns or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs import Custom, Fixed
from tests.lifecycle.shop import DELAYS
from tests.lifecycle.stories import assert_dense, seconds_between, verdicts, waits

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


def test_a_job_that_works_at_once_is_one_completed_row(shop: Shop) -> None:
    result = shop.enqueue("add", 2, 3)
    assert result.get(timeout=40) == 5
    assert result.state == "SUCCESS"
    rows = shop.ended(result)
    assert verdicts(rows) == [("completed", "success")]
    assert_dense(rows)
    only = rows[0]
    assert only.result == "5"
    assert only.max_attempts == 1 + len(DELAYS)
    assert only.retries_enabled
    assert not only.has_pending_retry
    assert only.resolved_by is None
    assert only.dead_lettered_at is None
    assert (only.failure_reason, only.error_type, only.error_message, only.traceback) == (None, None, None, None)
    assert (only.last_error_type, only.last_error_message) == (None, None)
    assert (only.losses, only.send_count) == (0, 1)
    assert only.duration_ms is not None
    assert only.started_at is not None
    assert only.created_at <= only.scheduled_at <= only.started_at
    assert only.finished_at is not None
    assert only.ended_at is not None
    assert only.started_at <= only.finished_at <= only.ended_at


def test_an_original_whose_retry_waits_says_retrying(shop: Shop) -> None:
    result = shop.enqueue("works_on_attempt", 2, queue="slow")
    first, second = rows = shop.failed_once(result)
    assert_dense(rows)
    assert verdicts(rows) == [("failed", "retrying"), ("pending", None)]
    assert first.has_pending_retry
    assert first.ended_at is None
    assert first.resolved_by is None
    assert (first.failure_reason, first.error_type) == ("exception", "ValueError")
    assert (first.last_error_type, first.last_error_message) == ("ValueError", "attempt 1 fails")
    assert not second.has_pending_retry
    assert second.started_at is None
    assert second.lease_token is None
    assert waits(rows) == [120]
    assert result.state == "RETRY"
    assert isinstance(result.result, ValueError)
    assert not result.ready()
    shop.jobs.cancel(result.id)


def test_a_job_that_works_on_the_third_attempt_leaves_a_resolved_original(shop: Shop) -> None:
    result = shop.enqueue("works_on_attempt", 3, 7)
    assert result.get(timeout=40) == 7
    assert result.state == "SUCCESS"
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "success"), ("failed", "failed_with_retries"), ("completed", "success")]
    assert_dense(rows)
    assert waits(rows) == DELAYS[:2]
    first, second, third = rows
    assert first.resolved_by == third.id
    assert first.dead_lettered_at is None
    assert (first.error_type, first.error_message) == ("ValueError", "attempt 1 fails")
    assert (second.error_type, second.error_message) == ("ValueError", "attempt 2 fails")
    assert (third.error_type, third.error_message, third.failure_reason) == (None, None, None)
    assert (first.result, second.result, third.result) == (None, None, "7")
    assert [row.failure_reason for row in rows] == ["exception", "exception", None]
    assert [row.has_pending_retry for row in rows] == [False, False, False]
    assert [row.policy_retries for row in rows] == [0, 1, 2]
    assert [row.losses for row in rows] == [0, 0, 0]
    assert third.finished_at is not None
    assert first.ended_at is not None
    assert first.ended_at >= third.finished_at
    assert (second.ended_at, third.ended_at) == (None, None)


def test_a_job_whose_four_attempts_fail_is_one_dead_letter(shop: Shop) -> None:
    result = shop.enqueue("fails")
    with pytest.raises(ValueError, match="attempt 4 fails"):
        result.get(timeout=40)
    assert result.state == "FAILURE"
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered"), *[("failed", "failed_with_retries")] * 3]
    assert_dense(rows)
    assert waits(rows) == DELAYS
    first, *_, last = rows
    assert first.dead_lettered_at is not None
    assert first.ended_at is not None
    assert seconds_between(last.finished_at, first.dead_lettered_at) >= 0
    assert [row.dead_lettered_at for row in rows[1:]] == [None, None, None]
    assert [row.error_message for row in rows] == [f"attempt {n} fails" for n in (1, 2, 3, 4)]
    assert (first.last_error_type, first.last_error_message) == ("ValueError", "attempt 4 fails")
    assert {row.failure_reason for row in rows} == {"exception"}
    assert all("ValueError: attempt" in (row.traceback or "") for row in rows)
    assert [row.has_pending_retry for row in rows] == [False] * 4
    assert first.resolved_by is None
    assert first.replayed_at is None
    assert first.id in [run.id for run in shop.jobs.list(status="DEAD", limit=1000)]
    assert shop.worker.log.count(f"job {first.id} (fails) is dead-lettered after attempt 4") == 1


def test_a_failure_on_a_queue_without_retries_is_no_dead_letter(shop: Shop) -> None:
    result = shop.enqueue("fails", queue="no-retries")
    with pytest.raises(ValueError, match="attempt 1 fails"):
        result.get(timeout=40)
    assert result.state == "FAILURE"
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "failed_no_retries")]
    only = rows[0]
    assert not only.retries_enabled
    assert only.failure_reason == "exception"
    assert (only.error_type, only.error_message) == ("ValueError", "attempt 1 fails")
    assert (only.last_error_type, only.last_error_message) == ("ValueError", "attempt 1 fails")
    assert only.dead_lettered_at is None
    assert not only.has_pending_retry
    assert only.id not in [run.id for run in shop.jobs.list(status="deadletter", limit=1000)]
    assert f"job {only.id} (fails) is dead-lettered" not in shop.worker.log


def test_a_queue_without_retries_wins_over_the_attempts_that_a_job_asks_for(shop: Shop) -> None:
    result = shop.enqueue("fails", queue="no-retries", retry_delays=[0.1, 0.1])
    assert verdicts(shop.ended(result)) == [("failed", "failed_no_retries")]


@pytest.mark.parametrize("options", [{"max_attempts": 1}, {"retry_delays": []}, {"queue": "once"}], ids=str)
def test_a_job_without_attempts_left_from_the_start_is_dead_lettered_at_once(
    shop: Shop, options: dict[str, object]
) -> None:
    result = shop.enqueue("fails", **options)
    with pytest.raises(ValueError, match="attempt 1 fails"):
        result.get(timeout=40)
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered")]
    only = rows[0]
    assert only.max_attempts == 1
    assert only.retries_enabled
    assert only.dead_lettered_at is not None
    assert not only.has_pending_retry
    assert (only.last_error_type, only.last_error_message) == ("ValueError", "attempt 1 fails")
    assert only.resolved_by is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"retry_policy": Fixed(0.3, 3)}, [0.3, 0.3]),
        ({"retry_policy": Custom([0.3, 0.1])}, [0.3, 0.1]),
        ({"max_attempts": 3, "retry_delays": [0.1]}, [0.1, 0.1]),
        ({"max_retries": 1}, DELAYS[:1]),
    ],
    ids=["fixed", "custom", "the last delay repeats", "max_retries"],
)
def test_a_job_brings_its_own_policy(shop: Shop, options: dict[str, object], expected: list[float]) -> None:
    result = shop.enqueue("fails", **options)
    rows = shop.ended(result)
    assert waits(rows) == expected
    assert rows[0].final_status == "dead_lettered"


@pytest.mark.parametrize("task", ["knows_it_is_hopeless", "declares_hopeless"])
def test_an_error_that_no_retry_can_help_is_a_dead_letter_at_once(shop: Shop, task: str) -> None:
    result = shop.enqueue(task)
    rows = shop.ended(result)
    assert verdicts(rows) == [("failed", "dead_lettered")]
    assert rows[0].failure_reason == "no_retry"
    assert rows[0].dead_lettered_at is not None
    assert result.state == "FAILURE"


def test_an_error_that_no_retry_can_help_ends_a_chain_without_retries_too(shop: Shop) -> None:
    rows = shop.ended(shop.enqueue("knows_it_is_hopeless", queue="no-retries"))
    assert verdicts(rows) == [("failed", "failed_no_retries")]
    assert (rows[0].failure_reason, rows[0].error_message) == ("no_retry", "no such customer")


@pytest.mark.parametrize(("asked", "waited"), [(0.7, 0.7), (0.05, DELAYS[0])], ids=["lengthens", "never shortens"])
def test_a_task_that_asks_for_time_gets_it(shop: Shop, asked: float, waited: float) -> None:
    result = shop.enqueue("asks_for_time", asked)
    assert result.get(timeout=40) == "in time"
    rows = shop.ended(result)
    assert waits(rows) == [waited]
    assert verdicts(rows) == [("failed", "success"), ("completed", "success")]
    assert (rows[0].failure_reason, rows[0].error_type) == ("exception", "celery_jobs.errors.RetryAfter")
