"""Replays: a new chain with the same configuration; the dead letter stays what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import AlreadyReplayed, JobNotEnded
from tests.lifecycle.shop import UNSERVED
from tests.lifecycle.stories import verdicts

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


def dead(shop: Shop, **options: Any) -> tuple[Any, Any]:
    """A dead letter that works when its file is there."""
    file = shop.new_file()
    result = shop.enqueue("works_when_repaired", str(file), max_attempts=1, **options)
    assert verdicts(shop.ended(result)) == [("failed", "dead_lettered")]
    return result, file


def test_the_replay_of_a_repaired_dead_letter_works_and_leaves_the_entry(shop: Shop) -> None:
    result, file = dead(shop, tags=["repair"])
    before = shop.original(result)
    file.touch()
    run = shop.jobs.replay(result.id, reason="the file is there")
    replayed = shop.app.AsyncResult(run.task_id)
    assert replayed.get(timeout=40) == "repaired"
    (new,) = shop.ended(replayed)
    assert verdicts([new]) == [("completed", "success")]
    assert new.id != before.id
    assert new.task_id != before.task_id
    assert new.original_id == new.id
    assert (new.attempt_number, new.is_retry) == (1, False)
    assert (new.replay_of, new.replay_reason) == (before.id, "the file is there")
    assert (new.task, new.queue, new.tags, new.max_attempts) == (before.task, before.queue, ["repair"], 1)
    after = shop.original(result)
    assert (after.status, after.final_status) == ("failed", "dead_lettered")
    assert after.replayed_at is not None
    assert after.replayed_as == new.id
    assert (after.dead_lettered_at, after.error_message) == (before.dead_lettered_at, before.error_message)
    assert after.resolved_by is None
    assert result.state == "FAILURE"


def test_a_replay_is_pending_until_a_worker_takes_it(shop: Shop) -> None:
    result, file = dead(shop, queue="pausable")
    file.touch()
    with shop.paused("pausable"):
        run = shop.jobs.replay(result.id)
        assert (run.status, run.final_status) == ("pending", None)
        assert (run.replay_of, run.replay_reason) == (result.id, None)
    shop.ended(shop.app.AsyncResult(run.task_id))


def test_a_second_replay_needs_force(shop: Shop) -> None:
    result, file = dead(shop)
    first = shop.jobs.replay(result.id, reason="too early")
    assert verdicts(shop.ended(shop.app.AsyncResult(first.task_id))) == [("failed", "dead_lettered")]
    file.touch()
    with pytest.raises(AlreadyReplayed, match=first.id):
        shop.jobs.replay(result.id, reason="again")
    second = shop.jobs.replay(result.id, reason="again", force=True)
    assert verdicts(shop.ended(shop.app.AsyncResult(second.task_id))) == [("completed", "success")]
    assert second.replay_of == first.replay_of == result.id
    assert shop.original(result).replayed_as == second.id


def test_a_replay_that_dies_is_an_entry_of_its_own_that_can_be_replayed(shop: Shop) -> None:
    result, file = dead(shop)
    first = shop.jobs.replay(result.id)
    assert verdicts(shop.ended(shop.app.AsyncResult(first.task_id))) == [("failed", "dead_lettered")]
    file.touch()
    second = shop.jobs.replay(first.id)
    assert shop.app.AsyncResult(second.task_id).get(timeout=40) == "repaired"
    assert second.replay_of == first.id


def test_a_replay_retries_by_policy_from_the_beginning(shop: Shop) -> None:
    result = shop.enqueue("fails", retry_delays=[0.1])
    shop.ended(result)
    run = shop.jobs.replay(result.id)
    rows = shop.ended(shop.app.AsyncResult(run.task_id))
    assert verdicts(rows) == [("failed", "dead_lettered"), ("failed", "failed_with_retries")]
    assert [row.error_message for row in rows] == ["attempt 1 fails", "attempt 2 fails"]
    assert rows[1].replay_of is None


def test_a_run_that_has_not_ended_cannot_be_replayed(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, queue=UNSERVED)
    with pytest.raises(JobNotEnded):
        shop.jobs.replay(result.id)
    shop.jobs.cancel(result.id)


def test_the_replay_of_an_expired_job_runs(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, countdown=0.6, expires=0.2)
    assert verdicts(shop.ended(result)) == [("cancelled", "cancelled")]
    run = shop.jobs.replay(result.id)
    assert run.expires_at is None
    assert shop.app.AsyncResult(run.task_id).get(timeout=40) == 3


def test_the_replay_of_a_job_runs_its_links(shop: Shop) -> None:
    file, noted = shop.new_file(), shop.new_file()
    result = shop.enqueue("works_when_repaired", str(file), max_attempts=1, link=shop.task("note").s(str(noted)))
    shop.ended(result)
    file.touch()
    run = shop.jobs.replay(result.id)
    shop.ended(shop.app.AsyncResult(run.task_id))
    shop.wait_for_text(noted, "repaired")


def test_a_replay_takes_over_the_idempotency_key(shop: Shop) -> None:
    file = shop.new_file()
    key = file.name
    result = shop.enqueue("works_when_repaired", str(file), max_attempts=1, idempotency_key=key)
    shop.ended(result)
    file.touch()
    run = shop.jobs.replay(result.id)
    shop.ended(shop.app.AsyncResult(run.task_id))
    assert shop.original(result).idempotency_key is None
    again = shop.enqueue("works_when_repaired", str(file), max_attempts=1, idempotency_key=key)
    assert (again.id, again.deduplicated) == (run.task_id, True)
