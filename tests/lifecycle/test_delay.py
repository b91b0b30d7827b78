"""Jobs that are not due yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs
from tests.lifecycle.stories import seconds_between, verdicts

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize(
    "option",
    [
        lambda: {"delay": 1},
        lambda: {"countdown": 1},
        lambda: {"eta": soon()},
        lambda: {"scheduled_at": soon()},
        lambda: {"run_at": soon().isoformat()},
    ],
    ids=["delay", "countdown", "eta", "scheduled_at", "run_at"],
)
def test_a_job_due_within_a_minute_is_sent_at_once_and_runs_on_time(shop: Shop, option: Any) -> None:
    result = shop.enqueue("add", 1, 2, **option())
    waiting = shop.original(result)
    assert verdicts([waiting]) == [("pending", None)]
    assert waiting.sent_at is not None
    assert 0.7 < seconds_between(waiting.created_at, waiting.scheduled_at) < 1.1
    assert result.get(timeout=40) == 3
    (row,) = shop.ended(result)
    assert row.scheduled_at == waiting.scheduled_at
    assert 0 <= seconds_between(row.scheduled_at, row.started_at) < 1


def test_a_job_due_in_more_than_a_minute_is_held_unsent(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, delay=70)
    (row,) = shop.attempts(result)
    assert verdicts([row]) == [("pending", None)]
    assert (row.sent_at, row.send_count) == (None, 0)
    assert abs(seconds_between(row.created_at, row.scheduled_at) - 70) < 0.1
    assert result.state == "PENDING"
    shop.jobs.cancel(result.id)


def test_a_retry_due_in_more_than_a_minute_is_held_unsent(shop: Shop) -> None:
    result = shop.enqueue("fails", queue="slow")
    _, retry = shop.failed_once(result)
    assert (retry.sent_at, retry.send_count) == (None, 0)
    shop.jobs.cancel(result.id)


def test_a_retry_due_within_a_minute_is_sent_at_once(shop: Shop) -> None:
    result = shop.enqueue("fails", retry_delays=[50])
    _, retry = shop.failed_once(result)
    assert retry.sent_at is not None
    assert retry.send_count == 1
    shop.jobs.cancel(result.id)


def test_a_held_job_is_sent_ahead_and_runs_on_time(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, delay=70)
    with shop.db.transaction() as connection:  # as if 68 s had passed
        connection.execute(update(jobs).where(jobs.c.id == result.job_id).values(scheduled_at=now(2)))
    (row,) = shop.ended(result)
    assert verdicts([row]) == [("completed", "success")]
    assert row.send_count == 1
    assert 0 <= seconds_between(row.scheduled_at, row.started_at) < 1
    assert seconds_between(row.sent_at, row.scheduled_at) > 0


def test_a_time_that_has_passed_is_now(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, run_at=datetime.now(UTC) - timedelta(hours=1))
    assert result.get(timeout=5) == 3
