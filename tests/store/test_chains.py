from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from celery_jobs.ids import new_id
from celery_jobs.states import FinalStatus
from celery_jobs.store import attempts, chains, endings, reads, workers
from celery_jobs.store.attempts import UNCLAIMED, Unclaimed
from celery_jobs.store.chains import Ended, Next, Retried, bury
from celery_jobs.store.db import now
from celery_jobs.store.endings import cancel, expire, lose, mark_told
from celery_jobs.store.rows import Claim, Failure
from celery_jobs.store.tables import jobs, messages
from tests.store.conftest import (
    FAILURE,
    LEASE,
    begin,
    beside,
    change,
    claim,
    complete,
    count,
    new_message,
    pause,
    race,
    retry,
    shift,
    snapshot,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database

ROUNDS = 12


def _live(db: Database, original_id: str) -> list[str]:
    return [job.id for job in reads.attempts(db, original_id) if job.status in ("pending", "processing")]


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def test_a_retry_fails_the_attempt_and_stores_the_next_one(db: Database) -> None:
    first = begin(db, tags=["shop"], priority=3, concurrency_key="customer-1", concurrency_limit=2)
    outcome = retry(db, first, delay=30)
    one, two = reads.attempts(db, first.id)
    assert (one.status, one.final_status, one.has_pending_retry, one.ended_at) == ("failed", "retrying", True, None)
    assert (one.failure_reason, one.error_type, one.error_message) == ("exception", "ValueError", "card declined")
    assert (one.last_error_type, one.last_error_message) == ("ValueError", "card declined")
    assert (two.id, two.attempt_number, two.is_retry) == (outcome.job_id, 2, True)
    assert (two.status, two.final_status, two.has_pending_retry) == ("pending", None, False)
    assert (two.task_id, two.retries, two.policy_retries, two.max_attempts) == (one.task_id, 1, 1, 4)
    assert (two.tags, two.priority, two.concurrency_key, two.concurrency_limit) == (["shop"], 3, "customer-1", 2)
    assert one.finished_at is not None
    assert two.scheduled_at == one.finished_at + _seconds(30)
    assert (outcome.scheduled_at, outcome.wait, outcome.attempt_number) == (two.scheduled_at, 30, 2)


def test_the_key_stays_with_the_original(db: Database) -> None:
    first = begin(db, idempotency_scope="shop", idempotency_key="order-1")
    second = retry(db, first)
    assert stored(db, second.job_id).idempotency_key is None
    assert stored(db, first.id).idempotency_key == "order-1"


@pytest.mark.parametrize(("delay", "sent"), [(0, True), (60, True), (60.5, False), (1800, False)])
def test_a_retry_due_within_sixty_seconds_is_sent_at_once(db: Database, delay: float, sent: bool) -> None:
    outcome = retry(db, begin(db), delay=delay)
    row = stored(db, outcome.job_id)
    assert (outcome.sent_at is not None) == sent
    assert (row.sent_at, row.send_count) == (outcome.sent_at, int(sent))


def test_a_retry_in_a_paused_queue_is_held(db: Database) -> None:
    job = begin(db)
    pause(db)
    assert retry(db, job).sent_at is None


def test_a_retry_with_the_same_arguments_shares_the_message(db: Database) -> None:
    first = begin(db)
    second = retry(db, first)
    assert reads.message_of(db, second.job_id) == reads.message_of(db, first.id)
    assert count(db, messages) == 1


def test_a_retry_with_other_arguments_has_its_own_message_queue_and_expiry(db: Database) -> None:
    message = new_message(body=b"[[2], {}, {}]")
    moment = datetime.now(UTC) + _seconds(300)
    job = begin(db)
    second = retry(db, job, message=message, queue="mail", expires_at=moment, scheduled_at=moment)
    row = stored(db, second.job_id)
    assert reads.message_of(db, second.job_id) == message
    assert (row.queue, row.expires_at, row.scheduled_at) == ("mail", moment, moment)


def test_a_retry_that_celery_asked_for_counts_no_policy_retry(db: Database) -> None:
    outcome = chains.retry(db, begin(db), FAILURE, Next(by_policy=False))
    assert isinstance(outcome, Retried)
    row = stored(db, outcome.job_id)
    assert (row.retries, row.policy_retries) == (1, 0)


def test_a_retry_whose_reply_was_lost_finds_the_retry_that_it_stored(db: Database) -> None:
    first = begin(db)
    outcome = retry(db, first, delay=30)
    before = snapshot(db)
    again = chains.retry(db, first, FAILURE, Next(delay=30, by_policy=True), 5)
    assert isinstance(again, Retried)
    assert (again.job_id, again.attempt_number) == (outcome.job_id, 2)
    assert snapshot(db) == before


def test_a_retry_whose_reply_was_lost_is_no_cancel_when_the_next_attempt_is_asked_to_stop(db: Database) -> None:
    first = begin(db)
    second = claim(db, retry(db, first).job_id)
    assert cancel(db, first.id) is True
    before = snapshot(db)
    again = chains.retry(db, first, FAILURE, Next(by_policy=True), 5)
    assert isinstance(again, Retried)
    assert again.job_id == second.id
    assert snapshot(db) == before


def test_a_chain_that_works_on_attempt_three_reads_as_the_table_says(db: Database) -> None:
    first = begin(db)
    second = retry(db, first, delay=60)
    shift(db, 60)
    third = retry(db, claim(db, second.job_id), delay=1800)
    shift(db, 1800)
    complete(db, third.job_id)
    rows = reads.attempts(db, first.id)
    assert [(r.status, r.final_status) for r in rows] == [
        ("failed", "success"),
        ("failed", "failed_with_retries"),
        ("completed", "success"),
    ]
    assert [(r.is_retry, r.has_pending_retry) for r in rows] == [(False, False), (True, False), (True, False)]
    assert rows[0].resolved_by == third.job_id
    assert rows[1].finished_at is not None
    assert rows[2].scheduled_at == rows[1].finished_at + _seconds(1800)


def test_a_chain_of_four_failures_ends_as_one_dead_letter(db: Database) -> None:
    job = begin(db)
    original = job.id
    for number in range(3):
        outcome = chains.retry(db, job, Failure("exception", "ValueError", f"try {number}"), Next(by_policy=True))
        assert isinstance(outcome, Retried)
        job = claim(db, outcome.job_id)
    assert bury(db, job, Failure("exception", "KeyError", "the last")) == Ended(original, FinalStatus.DEAD_LETTERED)
    rows = reads.attempts(db, original)
    assert [(r.status, r.final_status) for r in rows] == [
        ("failed", "dead_lettered"),
        *[("failed", "failed_with_retries")] * 3,
    ]
    assert [r.dead_lettered_at is not None for r in rows] == [True, False, False, False]
    assert (rows[0].error_type, rows[0].error_message) == ("ValueError", "try 0")
    assert (rows[0].last_error_type, rows[0].last_error_message) == ("KeyError", "the last")
    assert rows[0].ended_at is not None
    assert not rows[0].has_pending_retry


@pytest.mark.parametrize(
    ("enabled", "verdict"), [(True, FinalStatus.DEAD_LETTERED), (False, FinalStatus.FAILED_NO_RETRIES)]
)
def test_a_first_failure_without_attempts_left_is_a_dead_letter_only_with_retries_on(
    db: Database, enabled: bool, verdict: FinalStatus
) -> None:
    job = begin(db, retries_enabled=enabled, max_attempts=1)
    assert bury(db, job, FAILURE, 7) == Ended(job.id, verdict)
    row = stored(db, job.id)
    assert (row.status, row.final_status, row.duration_ms) == ("failed", verdict, 7)
    assert (row.dead_lettered_at is not None) == enabled
    assert (row.error_type, row.error_message, row.traceback) == ("ValueError", "card declined", "Traceback ...")


def test_a_burial_whose_reply_was_lost_is_still_ours(db: Database) -> None:
    job = begin(db)
    ended = bury(db, job, FAILURE)
    before = snapshot(db)
    assert bury(db, job, FAILURE) == ended
    assert snapshot(db) == before


LATE: dict[str, Any] = {
    "complete": lambda db, job: attempts.complete(db, job, '"late"', 5),
    "retry": lambda db, job: chains.retry(db, job, FAILURE, Next()),
    "bury": lambda db, job: bury(db, job, FAILURE),
    "lose": lambda db, job: lose(db, job.id, 3, lease_token=job.lease_token),
    "release": lambda db, job: endings.release(db, job.id, job.lease_token),
}


@pytest.mark.parametrize("since", ["given back", "claimed again", "retried", "completed", "dead-lettered"])
@pytest.mark.parametrize("writer", LATE)
def test_a_late_writer_changes_nothing(db: Database, writer: str, since: str) -> None:
    late = begin(db)
    lose(db, late.id, 3, lease_token=late.lease_token)
    if since != "given back":
        winner = claim(db, late.id)
        if since == "retried":
            retry(db, winner)
        elif since == "completed":
            attempts.complete(db, winner, '"won"', 5)
        elif since == "dead-lettered":
            bury(db, winner, FAILURE)
    before = snapshot(db)
    assert not LATE[writer](db, late)
    assert snapshot(db) == before


@pytest.mark.parametrize("writer", LATE)
def test_a_writer_whose_job_is_gone_changes_nothing(db: Database, writer: str) -> None:
    ghost = Claim(new_id(), new_id(), "t", None, "q", 1, 0, 1, True, None, new_id(), datetime.now(UTC))
    assert not LATE[writer](db, ghost)
    assert count(db, jobs) == 0


def test_a_lost_worker_costs_a_loss_and_no_attempt(db: Database) -> None:
    job = begin(db)
    assert lose(db, job.id, 3, lease_token=job.lease_token) is True
    row = stored(db, job.id)
    assert (row.status, row.attempt_number, row.losses, row.sent_at) == ("pending", 1, 1, None)
    assert (row.worker, row.lease_token, row.started_at, row.ended_at) == (None, None, None, None)


def test_a_loss_is_guarded_by_the_worker(db: Database) -> None:
    worker = new_id()
    job = claim(db, store(db), worker)
    assert lose(db, job.id, 3, worker=new_id()) is False
    assert lose(db, job.id, 3, worker=worker) is True
    assert lose(db, job.id, 3, worker=worker) is False


@pytest.mark.parametrize(
    ("enabled", "verdict"), [(True, FinalStatus.DEAD_LETTERED), (False, FinalStatus.FAILED_NO_RETRIES)]
)
def test_the_third_loss_ends_the_chain_whatever_attempts_are_left(
    db: Database, enabled: bool, verdict: FinalStatus
) -> None:
    job_id = store(db, retries_enabled=enabled)
    outcomes = []
    for _ in range(3):
        outcomes.append(lose(db, job_id, 3, lease_token=claim(db, job_id).lease_token))
    assert outcomes == [True, True, Ended(job_id, verdict)]
    row = stored(db, job_id)
    assert (row.status, row.failure_reason, row.losses) == ("failed", "worker_lost", 3)
    assert row.untold_at is not None


def test_losses_count_over_the_attempts_of_a_chain(db: Database) -> None:
    first = begin(db)
    lose(db, first.id, 3, lease_token=first.lease_token)
    second = retry(db, claim(db, first.id)).job_id
    assert lose(db, second, 3, lease_token=claim(db, second).lease_token) is True
    ended = lose(db, second, 3, lease_token=claim(db, second).lease_token)
    assert ended == Ended(first.id, FinalStatus.DEAD_LETTERED)
    one, two = reads.attempts(db, first.id)
    assert (one.final_status, two.final_status) == ("dead_lettered", "failed_with_retries")
    assert (two.failure_reason, two.losses) == ("worker_lost", 3)
    assert (one.error_message, one.last_error_type) == ("card declined", "WorkerLost")


def test_a_waiting_job_is_cancelled_at_once(db: Database) -> None:
    job_id = store(db, delay=3600)
    assert cancel(db, job_id) == Ended(job_id, FinalStatus.CANCELLED)
    row = stored(db, job_id)
    assert (row.status, row.final_status) == ("cancelled", "cancelled")
    assert None not in (row.finished_at, row.ended_at, row.untold_at, row.cancel_requested_at)


def test_a_waiting_retry_is_cancelled_on_itself_and_its_original(db: Database) -> None:
    first = begin(db)
    second = retry(db, first, delay=1800)
    assert cancel(db, first.id) == Ended(first.id, FinalStatus.CANCELLED)
    one, two = reads.attempts(db, first.id)
    assert (one.status, one.final_status, one.has_pending_retry) == ("failed", "cancelled", False)
    assert (two.id, two.status, two.final_status) == (second.job_id, "cancelled", "cancelled")
    assert one.error_message == "card declined"


def test_a_running_job_is_asked_to_stop(db: Database) -> None:
    first = begin(db)
    second = claim(db, retry(db, first).job_id)
    assert cancel(db, first.id) is True
    asked = [job.cancel_requested_at for job in reads.attempts(db, first.id)]
    assert None not in asked
    shift(db, 10)
    assert cancel(db, first.id) is True
    later = [job.cancel_requested_at for job in reads.attempts(db, first.id)]
    assert later == [moment and moment - _seconds(10) for moment in asked]
    assert stored(db, second.id).status == "processing"


@pytest.mark.parametrize("end", ["retry", "bury", "lose"])
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_job_asked_to_stop_that_fails_in_any_way_is_cancelled_and_never_retried(
    db: Database, end: str, attempt: int
) -> None:
    original = job = begin(db)
    if attempt == 2:
        job = claim(db, retry(db, original).job_id)
    cancel(db, original.id)
    assert LATE[end](db, job) == Ended(original.id, FinalStatus.CANCELLED)
    last = reads.attempts(db, original.id)[-1]
    assert (last.attempt_number, last.status, last.final_status) == (attempt, "cancelled", "cancelled")
    assert _live(db, original.id) == []
    row = stored(db, original.id)
    assert row.final_status == "cancelled"
    assert row.untold_at is not None  # Celery believes that it waits, runs or has failed


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_job_that_is_killed_is_cancelled_and_is_no_loss(db: Database, attempt: int) -> None:
    original = job = begin(db)
    if attempt == 2:
        job = claim(db, retry(db, original).job_id)
    assert cancel(db, original.id, terminate=True) is True
    assert endings.kill(db, job.id, new_id()) is False
    assert endings.kill(db, job.id, job.lease_token, 7) == Ended(original.id, FinalStatus.CANCELLED)
    last = reads.attempts(db, original.id)[-1]
    assert (last.status, last.final_status, last.losses, last.duration_ms) == ("cancelled", "cancelled", 0, 7)
    assert last.started_at is not None
    row = stored(db, original.id)
    assert (row.final_status, row.has_pending_retry) == ("cancelled", False)
    assert None not in (row.ended_at, row.untold_at)
    before = snapshot(db)
    assert endings.kill(db, job.id, job.lease_token) is False
    assert endings.kill(db, new_id(), job.lease_token) is False
    assert snapshot(db) == before


def test_a_task_that_ends_its_own_run_is_cancelled_though_nobody_asked(db: Database) -> None:
    job = begin(db, callback_url="https://shop.example/hook")
    assert bury(db, job, FAILURE, cancelled=True) == Ended(job.id, FinalStatus.CANCELLED)
    row = stored(db, job.id)
    assert (row.status, row.final_status, row.callback_state) == ("cancelled", "cancelled", "due")
    assert row.untold_at is not None


def test_what_is_to_be_killed_is_told_to_its_worker_alone_until_it_has_ended(db: Database) -> None:
    worker = new_id()
    ours, asked, others = (claim(db, store(db), by) for by in (worker, worker, new_id()))
    cancel(db, asked.id)
    assert workers.terminating(db, worker) == set()
    for job in (ours, others, asked):  # also what was asked before in a milder way
        cancel(db, job.id, terminate=True)
    assert workers.terminating(db, worker) == {ours.lease_token, asked.lease_token}
    bury(db, asked, FAILURE)
    endings.kill(db, ours.id, ours.lease_token)
    assert workers.terminating(db, worker) == set()


def test_only_what_runs_can_have_been_asked_to_stop(db: Database) -> None:
    job = begin(db)
    assert attempts.is_cancel_requested(db, job.id, 10) is False
    cancel(db, job.id)
    assert attempts.is_cancel_requested(db, job.id, 10) is True
    assert attempts.is_cancel_requested(db, new_id(), 10) is False


def test_cancelling_an_ended_chain_changes_nothing(db: Database) -> None:
    done = complete(db, store(db))
    cancelled = store(db)
    cancel(db, cancelled)
    before = snapshot(db)
    assert cancel(db, done) is False
    assert cancel(db, cancelled) is False
    assert cancel(db, new_id()) is False
    assert snapshot(db) == before


def test_a_cancel_of_what_waits_only_leaves_what_runs_alone(db: Database) -> None:
    waiting, running = store(db), begin(db)
    assert cancel(db, running.id, waiting_only=True) is True
    assert stored(db, running.id).cancel_requested_at is None
    assert cancel(db, waiting, waiting_only=True) == Ended(waiting, FinalStatus.CANCELLED)


def test_a_job_whose_expiry_has_passed_is_cancelled(db: Database) -> None:
    job_id = store(db)
    change(db, job_id, expires_at=now(30))
    assert expire(db, job_id) is False
    shift(db, 31)
    assert expire(db, job_id) == Ended(job_id, FinalStatus.CANCELLED)
    row = stored(db, job_id)
    assert (row.status, row.final_status, row.failure_reason) == ("cancelled", "cancelled", "expired")
    assert row.untold_at is not None
    assert expire(db, job_id) is False


def test_a_running_job_does_not_expire(db: Database) -> None:
    job = begin(db)
    change(db, job.id, expires_at=now(-1))
    assert expire(db, job.id) is False
    assert expire(db, new_id()) is False
    assert stored(db, job.id).status == "processing"


def test_a_retry_that_expires_cancels_its_chain(db: Database) -> None:
    first = begin(db)
    second = retry(db, first)
    change(db, second.job_id, expires_at=now(-1))
    assert expire(db, second.job_id) == Ended(first.id, FinalStatus.CANCELLED)
    original = stored(db, first.id)
    assert (original.final_status, original.last_error_message) == ("cancelled", "card declined")


def test_a_verdict_is_untold_until_celery_has_heard_it(db: Database) -> None:
    job_id = store(db)
    cancel(db, job_id)
    assert reads.untold(db, 10) == [job_id]
    mark_told(db, job_id)
    assert reads.untold(db, 10) == []


def test_what_a_worker_ends_itself_is_not_untold(db: Database) -> None:
    bury(db, begin(db), FAILURE)
    complete(db, store(db))
    assert reads.untold(db, 10) == []


def _claimed_chains(db: Database) -> list[Claim]:
    return [begin(db) for _ in range(ROUNDS)]


def test_a_cancel_racing_a_retry_ends_the_chain_and_leaves_nothing_alive(db: Database) -> None:
    for job in _claimed_chains(db):
        race(partial(cancel, db, job.id), partial(chains.retry, db, job, FAILURE, Next()))
        assert _live(db, job.id) == []
        assert stored(db, job.id).final_status == "cancelled"


def test_a_cancel_racing_a_completion_leaves_a_success(db: Database) -> None:
    for job in _claimed_chains(db):
        race(partial(cancel, db, job.id), partial(attempts.complete, db, job, None, 5))
        assert stored(db, job.id).final_status == "success"


def test_a_cancel_racing_a_claim_lets_one_of_them_win(db: Database) -> None:
    for _ in range(ROUNDS):
        job_id = store(db)
        answers: list[Any] = race(
            partial(cancel, db, job_id), partial(attempts.claim, db, job_id, new_id(), new_id(), LEASE)
        )
        cancelled, claimed = isinstance(answers[0], Ended), isinstance(answers[1], Claim)
        assert cancelled != claimed
        assert stored(db, job_id).status == ("cancelled" if cancelled else "processing")


def test_a_cancel_racing_a_release_never_leaves_a_job_that_runs_again(db: Database) -> None:
    for job in _claimed_chains(db):
        race(partial(cancel, db, job.id), partial(endings.release, db, job.id, job.lease_token))
        assert isinstance(attempts.claim(db, job.id, new_id(), new_id(), LEASE), Unclaimed)


def test_a_retry_beside_the_goodbye_of_its_worker_leaves_one_live_attempt(db: Database) -> None:
    first = begin(db)
    second = claim(db, retry(db, first).job_id)
    give_back = update(jobs).where(jobs.c.id == second.id).values(**UNCLAIMED)
    outcome = beside(
        db,
        lambda connection: connection.execute(give_back),
        lambda: chains.retry(db, second, FAILURE, Next(by_policy=True)),
    )
    assert outcome is None
    assert _live(db, first.id) == [second.id]


def test_a_loss_racing_a_finish_lets_one_of_them_win(db: Database) -> None:
    for job in _claimed_chains(db):
        lost, done = race(partial(lose, db, job.id, 3, job.lease_token), partial(attempts.complete, db, job, None, 5))
        assert bool(lost) != bool(done)
        assert stored(db, job.id).status == ("pending" if lost else "completed")


def test_a_retry_written_twice_at_once_makes_one_attempt(db: Database) -> None:
    for job in _claimed_chains(db):
        outcomes = race(*[partial(chains.retry, db, job, FAILURE, Next())] * 4)
        ids = {outcome.job_id for outcome in outcomes if isinstance(outcome, Retried)}
        assert _live(db, job.id) == list(ids)


def test_attempts_that_finish_and_chains_that_are_cancelled_at_once_do_not_deadlock(db: Database) -> None:
    for first in _claimed_chains(db):
        second = claim(db, retry(db, first).job_id)
        race(
            partial(cancel, db, first.id),
            partial(attempts.complete, db, second, None, 5),
            partial(lose, db, second.id, 3, second.lease_token),
            partial(bury, db, second, FAILURE),
        )
        live = _live(db, first.id)
        assert live == ([] if stored(db, first.id).ended_at else [second.id])
