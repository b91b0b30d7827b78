"""Attempts whose process is killed. Celery sees a lost child within 5 s, so these stories run side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from celery import chord
from celery.exceptions import ChordError, WorkerLostError

from tests.lifecycle.stories import verdicts
from tests.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.stories import Shop


@dataclass(frozen=True, slots=True)
class Doomed:
    """A job that kills its process, and the file with a mark for each run."""

    result: Any
    file: Path

    @property
    def runs(self) -> int:
        return len(self.file.read_text().splitlines())


@pytest.fixture(scope="module")
def doomed(running_shop: Shop) -> dict[str, Doomed]:
    """All stories of this module, begun at once."""
    shop = running_shop
    files = {
        name: shop.new_file() for name in ("once", "each time", "no retries", "second attempt", "chord", "errback")
    }
    member = shop.task("kills_its_worker").s(str(files["chord"]), 99)
    member.link_error(shop.task("note_failure").s(file=str(files["errback"])))
    results = {
        "once": shop.enqueue("kills_its_worker", str(files["once"]), 1),
        "each time": shop.enqueue("kills_its_worker", str(files["each time"]), 99),
        "no retries": shop.enqueue("kills_its_worker", str(files["no retries"]), 99, queue="no-retries"),
        "second attempt": shop.enqueue("fails_and_then_kills_its_worker", str(files["second attempt"])),
        "chord": chord([shop.task("add").s(1, 2), member])(shop.task("total").s()),
    }
    results["errback"] = results["chord"].parent.children[1]
    return {name: Doomed(result, files[name]) for name, result in results.items()}


def test_a_job_whose_worker_was_killed_is_pending_again_with_nothing_burnt(shop: Shop) -> None:
    file = shop.new_file()
    # Its second run waits behind a paused queue, so that the state between is there to be seen.
    result = shop.enqueue("kills_its_worker_when", str(file), queue="pausable")
    shop.wait(result, lambda rows: rows[0].status == "processing")
    with shop.paused("pausable"):
        file.touch()
        (row,) = shop.wait(result, lambda rows: rows[0].losses == 1)
        assert verdicts([row]) == [("pending", None)]
        assert row.attempt_number == 1
        assert (row.worker, row.lease_token, row.lease_expires_at, row.started_at) == (None, None, None, None)
        assert (row.finished_at, row.ended_at, row.failure_reason, row.sent_at) == (None, None, None, None)
        assert not result.ready()
    (row,) = shop.ended(result)
    assert (row.status, row.losses) == ("completed", 1)


def test_a_worker_killed_once_is_a_loss_and_still_attempt_1(shop: Shop, doomed: dict[str, Doomed]) -> None:
    story = doomed["once"]
    result = story.result
    assert result.get(timeout=40) == 1
    assert story.runs == 2
    rows = shop.ended(result, timeout=40)
    assert verdicts(rows) == [("completed", "success")]
    only = rows[0]
    assert only.losses == 1
    assert only.attempt_number == 1
    assert (only.retries, only.policy_retries) == (0, 0)
    assert not only.is_retry
    assert not only.has_pending_retry
    assert only.failure_reason is None
    assert (only.last_error_type, only.last_error_message) == (None, None)
    assert only.send_count == 1  # counted from the loss, so that its message is not long waited for
    assert only.result == "1"


def test_a_job_that_kills_its_worker_each_time_is_dead_lettered_after_three_losses(
    shop: Shop, doomed: dict[str, Doomed]
) -> None:
    story = doomed["each time"]
    result = story.result
    with pytest.raises(WorkerLostError):
        result.get(timeout=40)
    assert result.state == "FAILURE"
    assert story.runs == 3
    # Its caller hears of the end before the row says so.
    rows = shop.wait(result, lambda rows: rows[0].ended_at is not None and rows[0].untold_at is None)
    assert verdicts(rows) == [("failed", "dead_lettered")]
    only = rows[0]
    assert only.losses == 3
    assert only.failure_reason == "worker_lost"
    assert only.attempt_number == 1
    assert only.dead_lettered_at is not None
    assert not only.has_pending_retry
    assert only.error_type == only.last_error_type
    assert only.error_message
    assert only.error_message == only.last_error_message
    assert only.untold_at is None
    assert only.finished_at is not None
    assert (only.worker, only.lease_token) == (None, None)
    wait_until(
        lambda: f"job {only.id} ({only.task}) is dead-lettered" in shop.worker.log_file.read_text(), process=shop.worker
    )


def test_losses_count_over_the_attempts_of_a_chain(shop: Shop, doomed: dict[str, Doomed]) -> None:
    story = doomed["second attempt"]
    result = story.result
    with pytest.raises(WorkerLostError):
        result.get(timeout=40)
    rows = shop.ended(result, timeout=40)
    assert verdicts(rows) == [("failed", "dead_lettered"), ("failed", "failed_with_retries")]
    first, second = rows
    assert (first.failure_reason, second.failure_reason) == ("exception", "worker_lost")
    assert (first.error_message, first.losses) == ("before the losses", 0)
    assert second.losses == 3
    assert first.last_error_message == second.error_message
    assert not first.has_pending_retry
    assert first.dead_lettered_at is not None
    assert (second.dead_lettered_at, second.ended_at) == (None, None)


def test_a_job_that_kills_its_worker_each_time_without_retries_is_no_dead_letter(
    shop: Shop, doomed: dict[str, Doomed]
) -> None:
    story = doomed["no retries"]
    result = story.result
    (only,) = shop.ended(result, timeout=40)
    assert verdicts([only]) == [("failed", "failed_no_retries")]
    assert (only.losses, only.failure_reason, only.dead_lettered_at) == (3, "worker_lost", None)


def test_a_chord_member_that_kills_its_worker_each_time_fails_its_chord_and_runs_its_errback(
    shop: Shop, doomed: dict[str, Doomed]
) -> None:
    body, member = doomed["chord"].result, doomed["errback"].result
    assert verdicts(shop.ended(member, timeout=40)) == [("failed", "dead_lettered")]
    wait_until(body.failed, 10, lambda: f"the chord's body is {body.state}")
    assert isinstance(body.result, ChordError)
    assert "WorkerLostError" in str(body.result)
    shop.wait_for_text(doomed["errback"].file, "WorkerLostError")
    assert doomed["errback"].runs == 1
    assert doomed["chord"].runs == 3
