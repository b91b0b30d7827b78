from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.ids import new_id
from celery_jobs.store import attempts, endings
from celery_jobs.store.attempts import Unclaimed, holds_lease
from celery_jobs.store.db import now
from celery_jobs.store.endings import release
from celery_jobs.store.rows import Claim
from tests.store.conftest import (
    LEASE,
    RACERS,
    begin,
    change,
    claim,
    complete,
    pause,
    race,
    retry,
    shift,
    snapshot,
    store,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.store.db import Database


def test_a_claim_makes_a_job_processing_under_a_lease(db: Database) -> None:
    worker, token = new_id(), new_id()
    job_id = store(db, retry_policy={"delays": [1.0], "max_attempts": 2, "jitter": False}, max_attempts=2)
    claimed = claim(db, job_id, worker, token)
    assert (claimed.id, claimed.original_id, claimed.attempt_number, claimed.max_attempts) == (job_id, job_id, 1, 2)
    assert (claimed.lease_token, claimed.retry_policy) == (token, {"delays": [1.0], "max_attempts": 2, "jitter": False})
    job = stored(db, job_id)
    assert (job.status, job.worker, job.lease_token) == ("processing", worker, token)
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert abs(job.lease_expires_at - job.started_at - timedelta(seconds=LEASE)) < timedelta(seconds=1)


@pytest.mark.parametrize("durable", [True, False])
def test_a_claim_waits_for_the_disk_unless_it_need_not(
    db: Database, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.is_sqlite:
        pytest.skip("its commits are on disk")
    waits = []

    @contextmanager
    def alone(within: float = 60) -> Iterator[Any]:
        with db.transaction(within) as connection:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = on")  # the tests' server has it off
            yield connection
            waits.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar())

    job_id = store(db)
    monkeypatch.setattr(db, "alone", alone)
    claimed = attempts.claim(db, job_id, new_id(), new_id(), LEASE, durable=durable)
    assert isinstance(claimed, Claim)
    assert attempts.complete(db, claimed, None, 5)
    assert waits == ["on" if durable else "off", "on"]


def test_a_claim_is_won_by_one_of_sixteen(db: Database) -> None:
    job_id = store(db)
    answers = race(*[partial(attempts.claim, db, job_id, new_id(), new_id(), LEASE) for _ in range(RACERS)])
    winners = [answer for answer in answers if isinstance(answer, Claim)]
    assert [winner.lease_token for winner in winners] == [stored(db, job_id).lease_token]
    assert [a for a in answers if a not in winners] == [Unclaimed(Unclaimed.TAKEN)] * (RACERS - 1)


def _claim_again(db: Database, job_id: str, between: Callable[[], object], patch: pytest.MonkeyPatch) -> Claim:
    """A claim whose reply is lost: it is committed, something happens, and the same call tries again."""
    run = db.run

    def lose_the_reply(transition: Any, **options: Any) -> Any:
        patch.undo()
        first = run(transition)
        between()
        again = run(transition)
        assert again == first
        return again

    patch.setattr(db, "run", lose_the_reply)
    return claim(db, job_id)


BETWEEN: dict[str, Callable[[Database, str], object]] = {
    "nothing": lambda db, job_id: None,
    "a pause": lambda db, job_id: pause(db),
    "the expiry": lambda db, job_id: change(db, job_id, expires_at=now(-1)),
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_a_claim_whose_reply_was_lost_is_given_again(
    db: Database, between: Callable[[Database, str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = store(db)
    claimed = _claim_again(db, job_id, lambda: between(db, job_id), monkeypatch)
    assert stored(db, job_id).lease_token == claimed.lease_token


def test_a_request_that_the_pool_put_back_finds_the_claim_of_its_dead_process(db: Database) -> None:
    """Another call with the same token is another process, which must count the loss before it claims."""
    job_id, token = store(db), new_id()
    claim(db, job_id, token=token)
    assert attempts.claim(db, job_id, new_id(), token, LEASE) == Unclaimed(Unclaimed.OURS)
    assert endings.lose(db, job_id, 3, lease_token=token) is True
    assert claim(db, job_id, token=token).lease_token == token
    assert stored(db, job_id).losses == 1


def test_a_claim_before_its_time_tells_how_long_to_wait(db: Database) -> None:
    job_id = store(db, delay=30)
    answer = attempts.claim(db, job_id, new_id(), new_id(), LEASE)
    assert isinstance(answer, Unclaimed)
    assert answer.reason == Unclaimed.EARLY
    assert 25 < answer.wait <= 30
    shift(db, 30)
    claim(db, job_id)


def test_a_claim_at_the_very_moment_that_a_job_falls_due_is_early_or_won(db: Database) -> None:
    reasons: set[str] = set()
    for number in range(30):
        job_id = store(db, delay=0.01 + number / 10_000)
        while isinstance(answer := attempts.claim(db, job_id, new_id(), new_id(), LEASE), Unclaimed):
            reasons.add(answer.reason)
    assert reasons == {Unclaimed.EARLY}


def _lost(db: Database, job_id: str) -> str:
    before = snapshot(db)
    answer = attempts.claim(db, job_id, new_id(), new_id(), LEASE)
    assert isinstance(answer, Unclaimed)
    assert snapshot(db) == before
    return answer.reason


def test_a_job_that_has_expired_is_not_claimed(db: Database) -> None:
    job_id = store(db)
    change(db, job_id, expires_at=now(30))
    shift(db, 31)
    assert _lost(db, job_id) == Unclaimed.EXPIRED


def test_a_job_that_expires_later_is_claimed(db: Database) -> None:
    job_id = store(db)
    change(db, job_id, expires_at=now(30))
    claim(db, job_id)


def test_a_job_of_a_paused_queue_is_not_claimed_until_the_pause_is_over(db: Database) -> None:
    job_id = store(db)
    pause(db, seconds=30)
    assert _lost(db, job_id) == Unclaimed.PAUSED
    shift(db, 31)
    claim(db, job_id)


def test_a_pause_of_another_queue_stops_nothing(db: Database) -> None:
    pause(db, "mail")
    claim(db, store(db, queue="shop"))


def test_what_is_not_pending_is_taken(db: Database) -> None:
    assert _lost(db, begin(db).id) == Unclaimed.TAKEN
    assert _lost(db, complete(db, store(db))) == Unclaimed.TAKEN
    cancelled = store(db)
    endings.cancel(db, cancelled)
    assert _lost(db, cancelled) == Unclaimed.TAKEN


def test_a_job_that_is_no_more_is_gone(db: Database) -> None:
    assert _lost(db, new_id()) == Unclaimed.GONE


def test_a_job_that_was_asked_to_stop_and_given_back_never_runs_again(db: Database) -> None:
    job = begin(db)
    assert endings.cancel(db, job.id) is True
    release(db, job.id, job.lease_token)
    assert isinstance(attempts.claim(db, job.id, new_id(), new_id(), LEASE), Unclaimed)
    assert stored(db, job.id).final_status == "cancelled"


def test_a_waiting_job_that_was_asked_to_stop_is_not_claimed(db: Database) -> None:
    job_id = store(db)
    change(db, job_id, cancel_requested_at=now())
    before = snapshot(db)
    assert isinstance(attempts.claim(db, job_id, new_id(), new_id(), LEASE), Unclaimed)
    assert snapshot(db) == before


def test_completing_ends_a_chain_as_a_success(db: Database) -> None:
    job = begin(db)
    assert attempts.complete(db, job, '{"paid": true}', 87)
    row = stored(db, job.id)
    assert (row.status, row.final_status, row.result, row.duration_ms) == ("completed", "success", '{"paid": true}', 87)
    assert row.finished_at is not None
    assert row.ended_at is not None


def test_completing_a_retry_ends_its_chain_on_the_original(db: Database) -> None:
    first = begin(db)
    second = claim(db, retry(db, first).job_id)
    assert attempts.complete(db, second, None, 5)
    row, original = stored(db, second.id), stored(db, first.id)
    assert (row.status, row.final_status, row.ended_at) == ("completed", "success", None)
    assert (original.status, original.final_status) == ("failed", "success")
    assert (original.has_pending_retry, original.resolved_by) == (False, second.id)
    assert original.ended_at is not None
    assert original.error_message == "card declined"


def test_a_replaced_job_names_its_replacement(db: Database) -> None:
    job, replacement = begin(db), new_id()
    assert attempts.complete(db, job, None, 5, replaced_by=replacement)
    assert stored(db, job.id).replaced_by == replacement


def test_completing_is_fenced_by_the_lease_token(db: Database) -> None:
    late = begin(db)
    release(db, late.id, late.lease_token)
    before = snapshot(db)
    assert not attempts.complete(db, late, '"late"', 5)
    assert snapshot(db) == before
    winner = claim(db, late.id)
    before = snapshot(db)
    assert not attempts.complete(db, late, '"late"', 5)
    assert snapshot(db) == before
    assert attempts.complete(db, winner, '"won"', 5)
    assert not attempts.complete(db, late, '"late"', 5)
    assert stored(db, late.id).result == '"won"'


def test_a_completion_whose_reply_was_lost_is_still_ours(db: Database) -> None:
    job = begin(db)
    assert attempts.complete(db, job, '"done"', 5)
    before = snapshot(db)
    assert attempts.complete(db, job, '"done"', 5)
    assert snapshot(db) == before


def test_a_job_that_returns_after_it_was_asked_to_stop_is_a_success(db: Database) -> None:
    job = begin(db)
    assert endings.cancel(db, job.id) is True
    assert attempts.complete(db, job, None, 5)
    assert stored(db, job.id).final_status == "success"


def test_a_release_burns_nothing(db: Database) -> None:
    job = begin(db)
    assert release(db, job.id, job.lease_token)
    row = stored(db, job.id)
    assert (row.status, row.attempt_number, row.losses, row.sent_at) == ("pending", 1, 0, None)
    assert (row.worker, row.lease_token, row.lease_expires_at, row.started_at) == (None, None, None, None)
    claim(db, job.id)


@pytest.mark.parametrize("end", [endings.release, holds_lease])
def test_only_the_holder_of_the_lease_is_heard(db: Database, end: Any) -> None:
    job = begin(db)
    assert not end(db, job.id, new_id())
    assert stored(db, job.id).status == "processing"
    assert end(db, job.id, job.lease_token)


def test_nobody_holds_the_lease_of_an_ended_attempt(db: Database) -> None:
    job = begin(db)
    attempts.complete(db, job, None, 5)
    assert not holds_lease(db, job.id, job.lease_token)
    assert not release(db, job.id, job.lease_token)
