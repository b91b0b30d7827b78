"""The callbacks that a chain owes (semantics.md section 8), from its rows alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from celery_jobs.callbacks import due_callbacks
from celery_jobs.store.rows import Job

URL = "https://shop.example/hook"
START = datetime(2026, 4, 10, 12, 0, 1, 250_000, tzinfo=UTC)


def row(number: int, status: str, final_status: str | None, **more: Any) -> Job:
    """Attempt `number`, which ended `number` - 1 minutes after START if it has ended."""
    ended = final_status is not None
    values: dict[str, Any] = {
        "id": f"job-{number}",
        "original_id": "job-1",
        "task_id": "task",
        "task": "shop.charge",
        "queue": "celery",
        "status": status,
        "final_status": final_status,
        "attempt_number": number,
        "max_attempts": 4,
        "retries_enabled": True,
        "is_retry": number > 1,
        "has_pending_retry": False,
        "created_at": START,
        "scheduled_at": START,
        "callback_url": URL,
        "finished_at": START + timedelta(minutes=number - 1) if ended else None,
        "duration_ms": 87 if ended else None,
        "error_message": f"error {number}" if status == "failed" else None,
    }
    return Job(**{**values, **more})


def told(*rows: Job) -> list[tuple[str, str, int]]:
    return [
        (callback.body["status"], callback.body["job_id"], callback.body["attempt_number"])
        for callback in due_callbacks(rows)
    ]


FAILED_FIRST = row(1, "failed", "retrying")


def test_a_body_is_the_documented_one_field_by_field() -> None:
    [callback] = due_callbacks([row(1, "completed", "success")])
    assert callback.url == URL
    assert list(callback.body.items()) == [
        ("type", "job_execution"),
        ("job_id", "job-1"),
        ("status", "success"),
        ("response_status", None),
        ("duration_ms", 87),
        ("error_message", None),
        ("attempt_number", 1),
        ("completed_at", "2026-04-10T12:00:01Z"),
        ("original_job_id", "job-1"),
        ("queue", "celery"),
        ("task", "shop.charge"),
    ]
    assert (callback.attempt_id, callback.at) == ("job-1", START)


def test_a_failure_with_a_retry_to_come_says_retrying() -> None:
    [callback] = due_callbacks([FAILED_FIRST, row(2, "pending", None)])
    assert (callback.body["status"], callback.body["error_message"]) == ("retrying", "error 1")


def test_what_an_attempt_was_at_its_end_outlives_the_verdict_of_its_chain() -> None:
    rows = [row(1, "failed", "success"), row(2, "failed", "failed_with_retries"), row(3, "completed", "success")]
    assert told(*rows) == [
        ("retrying", "job-1", 1),
        ("failed_with_retries", "job-2", 2),
        ("success", "job-3", 3),
    ]


def test_the_failure_that_exhausts_a_chain_is_told_once_under_the_originals_id() -> None:
    dead = row(1, "failed", "dead_lettered", duration_ms=5)
    rows = [dead, *(row(n, "failed", "failed_with_retries") for n in (2, 3)), row(4, "failed", "failed_with_retries")]
    assert told(*rows) == [
        ("retrying", "job-1", 1),
        ("failed_with_retries", "job-2", 2),
        ("failed_with_retries", "job-3", 3),
        ("dead_lettered", "job-1", 4),
    ]
    last = due_callbacks(rows)[-1]
    assert (last.body["duration_ms"], last.body["error_message"]) == (87, "error 4")
    assert (last.body["completed_at"], last.attempt_id) == ("2026-04-10T12:03:01Z", "job-4")


def test_an_only_attempt_that_fails_says_the_verdict() -> None:
    assert told(row(1, "failed", "dead_lettered")) == [("dead_lettered", "job-1", 1)]
    assert told(row(1, "failed", "failed_no_retries")) == [("failed_no_retries", "job-1", 1)]


def test_the_verdict_failed_no_retries_is_told_also_after_celerys_own_retries() -> None:
    rows = [row(1, "failed", "failed_no_retries"), row(2, "failed", "failed_with_retries")]
    assert told(*rows) == [("retrying", "job-1", 1), ("failed_no_retries", "job-1", 2)]


def test_a_cancel_is_told_once() -> None:
    assert told(row(1, "cancelled", "cancelled", duration_ms=None)) == [("cancelled", "job-1", 1)]
    rows = [row(1, "failed", "cancelled"), row(2, "cancelled", "cancelled")]
    assert told(*rows) == [("retrying", "job-1", 1), ("cancelled", "job-2", 2)]


def test_an_http_jobs_response_is_told() -> None:
    [callback] = due_callbacks([row(1, "completed", "success", response_status=200)])
    assert callback.body["response_status"] == 200


def test_a_moment_elsewhere_is_told_in_utc() -> None:
    there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    [callback] = due_callbacks([row(1, "completed", "success", finished_at=there)])
    assert callback.body["completed_at"] == "2026-04-10T12:00:01Z"


@pytest.mark.parametrize("job", [row(1, "pending", None), row(1, "processing", None)])
def test_an_attempt_that_has_not_ended_owes_nothing(job: Job) -> None:
    assert due_callbacks([job]) == []


def test_a_job_without_a_url_owes_nothing() -> None:
    assert due_callbacks([row(1, "completed", "success", callback_url=None)]) == []
