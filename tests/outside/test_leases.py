"""Who holds a job, for how long, and what becomes of it when nobody does any more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from celery_jobs import InvalidJob, JobNotFound, JobNotHeld, Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store import signs
from tests.outside.conftest import ADD, ANNE, BEN, ON_SQLITE, PLAIN, QUEUE, begin, claim, sends
from tests.store.conftest import RACERS, race, snapshot
from tests.store.test_lost_replies import lose_the_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database

VERBS: dict[str, Callable[[Jobs, str, str], Any]] = {
    "complete": lambda doors, id, worker: doors.complete(id, worker, "other"),
    "fail": lambda doors, id, worker: doors.fail(id, worker, "other"),
    "heartbeat": lambda doors, id, worker: doors.heartbeat(id, worker, 60),
}


def refused(doors: Jobs, id: str, worker_id: str = ANNE) -> JobNotHeld:
    """Why none of the verbs is done for a worker: each says the same."""
    found = {}
    for name, verb in VERBS.items():
        with pytest.raises(JobNotHeld) as caught:
            verb(doors, id, worker_id)
        found[name] = caught.value
    assert len({(str(error), error.holder) for error in found.values()}) == 1
    return found["complete"]


@ON_SQLITE
def test_another_worker_is_told_who_holds_the_job(doors: Jobs, db: Database) -> None:
    job = begin(doors)
    before = snapshot(db)
    error = refused(doors, job.id, BEN)
    assert error.holder == ANNE
    assert str(error) == f"the job {job.id} is held by 'anne', not by 'ben'"
    assert snapshot(db) == before


def test_who_waits_too_long_is_told_that_nobody_holds_it(doors: Jobs, later: Callable[[float], None]) -> None:
    job = begin(doors)
    later(31)
    error = refused(doors, job.id)
    assert error.holder is None
    assert "the lease of 'anne' has run out" in str(error)


def test_a_job_whose_lease_ran_out_is_the_next_ones(doors: Jobs, later: Callable[[float], None]) -> None:
    job = begin(doors, {"image": 7})
    later(31)
    taken = claim(doors, BEN)
    assert (taken.id, taken.payload, taken.attempt_number, taken.losses) == (job.id, {"image": 7}, 1, 1)
    assert refused(doors, job.id).holder == BEN
    run = doors.complete(taken.id, BEN, "mine")
    assert (run.final_status, run.result, run.losses, run.attempt_number) == ("success", "mine", 1, 1)
    error = refused(doors, job.id)
    assert (error.holder, "ended by 'ben', as completed" in str(error)) == (None, True)


@ON_SQLITE
def test_a_lease_that_ran_out_is_claimed_in_its_order(doors: Jobs, later: Callable[[float], None]) -> None:
    begin(doors, "lost", priority=1)
    for payload, priority in {"low": 0, "same": 1, "high": 2}.items():
        doors.enqueue_payload(QUEUE, payload, priority=priority)
    later(31)
    assert [job.payload for job in doors.claim(QUEUE, BEN, limit=3)] == ["high", "lost", "same"]


@pytest.mark.parametrize(("queue", "verdict"), [(QUEUE, "dead_lettered"), (PLAIN, "failed_no_retries")])
def test_the_third_loss_ends_the_chain(doors: Jobs, later: Callable[[float], None], queue: str, verdict: str) -> None:
    run = doors.enqueue_payload(queue, 1, callback_url="https://shop.example/hook")
    for losses in range(3):
        (job,) = doors.claim(queue, ANNE)
        assert job.losses == losses
        later(31)
    assert doors.claim(queue, ANNE) == []
    run = doors.get(run.id)
    assert (run.final_status, run.failure_reason, run.losses) == (verdict, "worker_lost", 3)
    assert run.attempts[0].callback_state == "due"
    assert refused(doors, run.id).holder is None


def test_a_heartbeat_moves_the_end_of_a_lease(doors: Jobs, later: Callable[[float], None]) -> None:
    job = begin(doors)
    later(20)
    lease = doors.heartbeat(job.id, ANNE, 100)
    assert (lease.id, lease.cancel_requested) == (job.id, False)
    later(80)
    assert doors.claim(QUEUE, BEN) == []
    doors.heartbeat(job.id, ANNE)  # as long as the last time
    later(80)
    assert doors.claim(QUEUE, BEN) == []
    doors.heartbeat(job.id, ANNE, 1)  # sooner than before
    later(2)
    assert claim(doors, BEN).id == job.id


def test_a_repeated_complete_by_its_owner_changes_nothing(
    doors: Jobs, db: Database, later: Callable[[float], None]
) -> None:
    job = begin(doors)
    run = doors.complete(job.id, ANNE, {"ok": True})
    assert (run.status, run.final_status, run.result) == ("completed", "success", {"ok": True})
    before = snapshot(db)
    assert doors.complete(job.id, ANNE, "another") == run
    later(3600)
    moved = snapshot(db)
    assert doors.complete(job.id, ANNE).result == {"ok": True}
    assert snapshot(db) == moved != before
    assert refused_by(doors.fail, job.id, ANNE, "but") == "completed"
    assert refused_by(doors.heartbeat, job.id, ANNE) == "completed"
    assert refused_by(doors.complete, job.id, BEN) == "completed"


def test_a_repeated_fail_by_its_owner_changes_nothing(doors: Jobs, db: Database) -> None:
    job = begin(doors)
    run = doors.fail(job.id, ANNE, "no such image")
    assert (run.status, run.attempt_number, run.has_pending_retry) == ("pending", 2, True)
    before = snapshot(db)
    assert doors.fail(job.id, ANNE, "again") == run
    assert snapshot(db) == before
    assert refused_by(doors.complete, job.id, ANNE) == "failed"
    assert refused_by(doors.fail, job.id, BEN, "no") == "failed"
    with pytest.raises(JobNotHeld, match="it waits to be claimed"):
        doors.complete(run.attempts[-1].id, ANNE)


def refused_by(verb: Callable[..., Any], *given: Any) -> str:
    """How the job has ended, as the error says that nobody holds it."""
    with pytest.raises(JobNotHeld, match="nobody holds the job") as caught:
        verb(*given)
    assert caught.value.holder is None
    return str(caught.value).rpartition(" ")[2]


def test_many_that_complete_at_once_complete_it_once(doors: Jobs) -> None:
    job = begin(doors)
    runs = race(*(partial(doors.complete, job.id, ANNE, number) for number in range(RACERS)))
    assert {(run.final_status, run.result) for run in runs} == {("success", doors.get(job.id).result)}


def test_a_lease_that_ran_out_is_one_loss_however_many_ask(doors: Jobs, later: Callable[[float], None]) -> None:
    job = begin(doors)
    later(31)
    got = race(*(partial(doors.claim, QUEUE, f"worker-{number}") for number in range(RACERS)))
    assert [claimed.losses for found in got for claimed in found] == [1]
    assert doors.get(job.id).losses == 1


def test_the_reaper_brings_back_what_nobody_claims_again(
    app: Celery, doors: Jobs, db: Database, later: Callable[[float], None]
) -> None:
    plugin = plugin_of(app)
    job = begin(doors)
    assert make_service(plugin, "reaper").run_once() == 0
    later(31)
    with db.reading() as connection:
        assert connection.execute(select(signs.lost(60))).scalar()
    assert make_service(plugin, "reaper").run_once() == 1
    run = doors.get(job.id)
    assert (run.status, run.losses, run.attempts[0].claimed_by) == ("pending", 1, None)
    assert "it waits to be claimed" in str(refused(doors, job.id))
    assert sends(db) == {(None, 0)}


def test_replies_that_are_lost_make_no_difference(doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = [doors.enqueue_payload(QUEUE, number).id for number in range(3)]
    lose_the_reply(db, monkeypatch)
    job = claim(doors)
    assert (job.id, [doors.get(id).status for id in waits[1:]]) == (waits[0], ["pending"] * 2)
    lose_the_reply(db, monkeypatch)
    assert doors.complete(job.id, ANNE, 1).result == 1
    job = claim(doors)
    lose_the_reply(db, monkeypatch)
    assert doors.fail(job.id, ANNE, "x").attempt_number == 2
    (job,) = doors.claim(QUEUE, ANNE)
    assert job.id == waits[2]


@ON_SQLITE
def test_what_is_no_claim_is_refused(doors: Jobs) -> None:
    task = doors.enqueue(ADD, [1])
    for verb in VERBS.values():
        with pytest.raises(InvalidJob, match=ADD) as wrong:
            verb(doors, task.id, ANNE)
        assert wrong.value.field == "id"
        with pytest.raises(InvalidJob) as nobody:
            verb(doors, task.id, "")
        assert nobody.value.field == "worker_id"
        for unknown in ("order-7", "01999999-9999-7999-8999-999999999999"):
            with pytest.raises(JobNotFound):
                verb(doors, unknown, ANNE)
    job = begin(doors)
    with pytest.raises(InvalidJob) as long:
        doors.heartbeat(job.id, ANNE, 3601)
    assert long.value.field == "lease_duration"
    with pytest.raises(InvalidJob) as no_text:
        doors.fail(job.id, ANNE, ValueError("x"))  # type: ignore[arg-type]
    assert no_text.value.field == "error"
