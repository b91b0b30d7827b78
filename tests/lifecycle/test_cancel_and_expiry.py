"""Chains that are stopped on purpose or by their expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery.exceptions import TaskRevokedError

from celery_jobs import JobEnded
from tests.lifecycle.shop import CONCURRENCY, UNSERVED
from tests.lifecycle.stories import verdicts
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


def assert_revoked(result: object) -> None:
    assert result.state == "REVOKED"  # type: ignore[attr-defined]
    with pytest.raises(TaskRevokedError):
        result.get(timeout=40)  # type: ignore[attr-defined]


def test_a_waiting_job_is_cancelled_at_once(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, queue=UNSERVED)
    run = shop.jobs.cancel(result.id)
    assert (run.status, run.final_status) == ("cancelled", "cancelled")
    (only,) = shop.attempts(result)
    assert verdicts([only]) == [("cancelled", "cancelled")]
    assert only.cancel_requested_at is not None
    assert only.ended_at is not None
    assert (only.started_at, only.failure_reason, only.dead_lettered_at) == (None, None, None)
    assert only.untold_at is None
    assert_revoked(result)


def test_cancelling_again_is_no_error(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, queue=UNSERVED)
    before = shop.jobs.cancel(result.id)
    assert shop.jobs.cancel(result.id) == before


def test_a_run_that_has_ended_otherwise_cannot_be_cancelled(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2)
    shop.ended(result)
    with pytest.raises(JobEnded, match="success"):
        shop.jobs.cancel(result.id)


@pytest.mark.parametrize("delay", [120, 2], ids=["in SQL", "at the worker"])
def test_a_chain_cancelled_while_a_retry_waits_ends_as_cancelled(shop: Shop, delay: float) -> None:
    result = shop.enqueue("fails", retry_delays=[delay, 0.1])
    first, second = shop.failed_once(result)
    assert (second.sent_at is None) == (delay > 60)
    shop.jobs.cancel(result.id)
    first, second = rows = shop.attempts(result)
    assert verdicts(rows) == [("failed", "cancelled"), ("cancelled", "cancelled")]
    assert not first.has_pending_retry
    assert first.ended_at is not None
    assert first.resolved_by is None
    assert first.dead_lettered_at is None
    assert (first.failure_reason, first.error_message) == ("exception", "attempt 1 fails")
    assert second.error_message is None
    assert second.started_at is None
    assert_revoked(result)
    if second.sent_at is not None:
        # Its message comes, and finds nothing to run.
        dropped = f"a message of job {second.id} was dropped"
        wait_until(lambda: dropped in shop.worker.log, process=shop.worker)
        assert shop.attempts(result) == rows


def test_a_job_cancelled_by_the_id_of_its_retry_ends_as_cancelled(shop: Shop) -> None:
    result = shop.enqueue("fails", queue="slow")
    _, second = shop.failed_once(result)
    run = shop.jobs.cancel(second.id)
    assert (run.id, run.final_status) == (result.id, "cancelled")


@pytest.mark.parametrize(
    ("fail", "ending"),
    [(False, ("completed", "success")), (True, ("cancelled", "cancelled"))],
    ids=["it returns", "it raises"],
)
def test_a_running_job_that_is_cancelled_ends_by_what_it_does(shop: Shop, fail: bool, ending: tuple[str, str]) -> None:
    file = shop.new_file()
    result = shop.enqueue("waits_for", str(file), fail)
    shop.wait(result, lambda rows: rows[0].status == "processing")
    run = shop.jobs.cancel(result.id)
    assert run.status == "processing"
    assert run.cancel_requested_at is not None
    file.touch()
    rows = shop.ended(result)
    assert verdicts(rows) == [ending]
    assert not rows[0].has_pending_retry
    assert rows[0].dead_lettered_at is None
    if fail:
        wait_until(lambda: result.state == "REVOKED", 5, lambda: f"the caller sees {result.state}")


def assert_expired(shop: Shop, result: object) -> None:
    rows = shop.ended(result)
    assert verdicts(rows) == [("cancelled", "cancelled")]
    only = rows[0]
    assert only.failure_reason == "expired"
    assert (only.started_at, only.dead_lettered_at, only.lease_token) == (None, None, None)
    assert only.expires_at is not None
    assert only.finished_at is not None
    assert only.finished_at >= only.expires_at
    wait_until(lambda: result.state == "REVOKED", 5, "the caller does not hear it")  # type: ignore[attr-defined]
    assert_revoked(result)


def test_a_job_that_expires_where_nobody_consumes_is_cancelled(shop: Shop) -> None:
    assert_expired(shop, shop.enqueue("add", 1, 2, queue=UNSERVED, expires=0.5))


def test_a_job_that_expires_before_its_time_has_come_is_cancelled(shop: Shop) -> None:
    assert_expired(shop, shop.enqueue("add", 1, 2, countdown=1, expires=0.4))


def test_a_job_that_expires_while_every_process_is_busy_is_cancelled(shop: Shop) -> None:
    file = shop.new_file()
    busy = [shop.enqueue("waits_for", str(file)) for _ in range(CONCURRENCY)]
    for each in busy:
        shop.wait(each, lambda rows: rows[0].status == "processing")
    late = shop.enqueue("add", 1, 2, expires=0.3)
    assert_expired(shop, late)
    file.touch()
    for each in busy:
        assert verdicts(shop.ended(each)) == [("completed", "success")]
    (row,) = shop.attempts(late)
    assert row.result is None
