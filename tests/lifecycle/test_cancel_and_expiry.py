"""Chains that are stopped on purpose or by their expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil
import pytest
from celery import chain, chord
from celery.exceptions import TaskRevokedError

from celery_jobs import JobEnded, JobNotFound
from tests.lifecycle.shop import CONCURRENCY, UNSERVED
from tests.lifecycle.stories import verdicts
from tests.lifecycle.test_canvas import assert_chord_failed
from tests.processes import is_running, wait_until

if TYPE_CHECKING:
    from celery_jobs.store.rows import Job
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


def running(shop: Shop, name: str, *args: Any, **options: Any) -> Any:
    """The result of a job that runs by now."""
    result = shop.enqueue(name, *args, **options)
    shop.wait(result, lambda rows: rows[0].status == "processing")
    return result


def assert_cancelled_once(shop: Shop, result: Any) -> Job:
    """One attempt, cancelled, never retried; its caller hears so."""
    (only,) = rows = shop.ended(result, 30)
    assert verdicts(rows) == [("cancelled", "cancelled")]
    assert only.dead_lettered_at is None
    wait_until(lambda: result.state == "REVOKED", 10, lambda: f"the caller sees {result.state}", shop.worker)
    assert_revoked(result)
    return only


def test_a_running_task_asks_whether_it_is_cancelled_and_stops(shop: Shop) -> None:
    file = shop.new_file()
    result = running(shop, "stops_when_asked", str(file))
    wait_until(file.exists, process=shop.worker)
    shop.jobs.cancel(result.id)
    only = assert_cancelled_once(shop, result)
    assert (only.error_message, only.losses) == ("asked to stop", 0)


def test_a_task_that_raises_cancelled_ends_its_run_though_nobody_asked(shop: Shop) -> None:
    result = shop.enqueue("stops_by_itself")
    only = assert_cancelled_once(shop, result)
    assert (only.error_message, only.cancel_requested_at) == ("the order was withdrawn", None)


@pytest.mark.parametrize("way", ["cancel", "revoke"])
def test_a_running_job_is_killed_where_the_cancel_asks_for_it(shop: Shop, way: str) -> None:
    file = shop.new_file()
    result = running(shop, "waits_for", str(file))
    if way == "cancel":
        assert shop.jobs.cancel(result.id, terminate=True).cancel_requested_at is not None
    else:
        result.revoke(terminate=True)
    only = assert_cancelled_once(shop, result)
    assert (only.losses, only.failure_reason) == (0, None)
    assert only.started_at is not None
    assert not file.exists()
    assert shop.enqueue("add", 1, 2).get(timeout=40) == 3


@pytest.mark.matrix
def test_what_does_not_heed_the_signal_is_killed_all_the_same(shop: Shop) -> None:
    file = shop.new_file()
    result = running(shop, "heeds_no_signal", str(file))
    wait_until(file.exists, process=shop.worker)
    shop.jobs.cancel(result.id, terminate=True)
    assert_cancelled_once(shop, result)
    process = psutil.Process(int(file.read_text()))
    wait_until(lambda: not is_running(process), 30, "the process lives on", shop.worker)


def test_a_cancelled_job_whose_process_is_killed_is_cancelled_and_never_runs_again(shop: Shop) -> None:
    file = shop.new_file()
    result = running(shop, "kills_its_worker_when", str(file))
    shop.jobs.cancel(result.id)
    file.touch()
    assert_cancelled_once(shop, result)


def test_a_cancelled_job_that_runs_into_its_time_limit_is_cancelled(shop: Shop) -> None:
    file = shop.new_file()
    errback = shop.task("note_failure").s(file=str(file))
    result = running(shop, "hangs", queue="no-retries", time_limit=2, link_error=errback)
    shop.jobs.cancel(result.id)
    assert assert_cancelled_once(shop, result).failure_reason == "timeout"
    assert not file.exists()


@pytest.mark.parametrize("name", ["fails_when", "stops_by_itself"])
def test_the_rest_of_the_chain_and_the_errbacks_of_a_cancelled_job_do_not_run(shop: Shop, name: str) -> None:
    file, gate = shop.new_file(), shop.new_file()
    errback = shop.task("note_failure").s(file=str(file))
    step = shop.task(name).si(str(gate)).set(queue="no-retries")
    step.link_error(errback)
    last = chain(step, shop.task("note").si("the next step", str(file))).apply_async()
    if name == "fails_when":
        shop.wait(last.parent, lambda rows: rows[0].status == "processing")
        shop.jobs.cancel(last.parent.id)
        gate.touch()
    assert_cancelled_once(shop, last.parent)
    with pytest.raises(TaskRevokedError):
        last.get(timeout=40)
    with pytest.raises(JobNotFound):
        shop.jobs.get(last.id)
    assert shop.enqueue("add", 1, 2).get(timeout=40) == 3
    assert not file.exists()


@pytest.mark.parametrize(
    "terminate", [pytest.param(True, marks=pytest.mark.matrix, id="killed"), pytest.param(False, id="that stops")]
)
def test_a_chord_member_that_is_cancelled_while_it_runs_fails_its_chord(shop: Shop, terminate: bool) -> None:
    file = shop.new_file()
    name = "waits_for" if terminate else "stops_when_asked"
    body = chord([shop.task("add").s(1, 2), shop.task(name).s(str(file))])(shop.task("total").s())
    served, stopped = body.parent.children
    shop.ended(served)
    shop.wait(stopped, lambda rows: rows[0].status == "processing")
    shop.jobs.cancel(stopped.id, terminate=terminate)
    assert_cancelled_once(shop, stopped)
    assert_chord_failed(body, "TaskRevokedError")


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
