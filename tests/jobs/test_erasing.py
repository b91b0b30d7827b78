"""Erasing what ended runs hold: every copy is gone, the history stays (reliability: retention and erasure)."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from celery import states
from sqlalchemy import update

from celery_jobs import (
    AlreadyReplayed,
    JobErased,
    JobNotEnded,
    Jobs,
    NoCallback,
    ResultsUnavailable,
    Run,
    subscribe,
    unsubscribe,
)
from celery_jobs.events import Kind
from celery_jobs.plugin import plugin_of
from celery_jobs.replaying import Replays
from celery_jobs.store import attempts, dead_letters, reads
from celery_jobs.store.rows import Failure, Response
from celery_jobs.store.tables import jobs
from tests.jobs.conftest import ADD, bury, claim, dead, fail, held, snapshot, succeed

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database

CANARY = "canary-4111"
URL = f"https://hooks.example.com/?token={CANARY}"
ANSWER = Response(500, {"x-told": CANARY}, CANARY.encode())
SECRET = Failure("http_server_error", "HttpFailed", f"said {CANARY}", f"Traceback of {CANARY}", ANSWER)
ERASED = frozenset({"result", "error_message", "traceback", "callback_url", "erased_at", "response", "attempts"})


def settle_callbacks(db: Database) -> None:
    """As if each had been tried, and failed."""
    values = {"callback_state": "failed", "callback_error": f"{CANARY} was answered"}
    due = update(jobs).where(jobs.c.callback_state == "due").values(values)
    db.run(lambda connection: connection.execute(due))


def full_of_secrets(doors: Jobs, db: Database) -> str:
    """An ended run that holds a secret in every place: a failed attempt, and one that succeeded."""
    run = doors.enqueue(ADD, (CANARY,), {"y": {CANARY: [CANARY]}}, callback_url=URL, tags=["kept"])
    retry = fail(db, run.id, 0, SECRET)
    assert attempts.complete(db, claim(db, retry), f'"{CANARY}"', 5, response=ANSWER)
    settle_callbacks(db)
    assert held(db).count(CANARY) > 10
    return run.id


def test_every_copy_is_gone(doors: Jobs, db: Database) -> None:
    id = full_of_secrets(doors, db)
    doors.erase(id)
    assert CANARY not in held(db)


def test_that_it_ran_and_how_it_ended_stays(doors: Jobs, db: Database) -> None:
    id = full_of_secrets(doors, db)
    before = doors.get(id)
    after = doors.erase(id)
    for name in {field.name for field in fields(Run)} - ERASED:
        assert getattr(after, name) == getattr(before, name), name
    assert after.erased_at is not None
    assert [(job.status, job.error_type, job.duration_ms) for job in after.attempts] == [
        ("failed", "HttpFailed", 5),
        ("completed", None, 5),
    ]
    assert (after.tags, after.response_status) == (["kept"], before.response_status)
    assert doors.count(tag="kept") == 1
    assert "erased at 2" in str(doors.arguments(id))


def test_celerys_result_is_forgotten(doors: Jobs, db: Database, app: Celery) -> None:
    run = doors.enqueue(ADD, (1,))
    succeed(db, run.id)
    app.backend.store_result(run.task_id, CANARY, states.SUCCESS)
    doors.erase(run.id)
    assert app.AsyncResult(run.task_id).state == "PENDING"


def test_the_result_of_a_later_chain_of_the_same_task_id_stays(doors: Jobs, db: Database, app: Celery) -> None:
    first = doors.enqueue(ADD, (1,), task_id="again")
    succeed(db, first.id)
    second = doors.enqueue(ADD, (2,), task_id="again")
    assert second.id != first.id
    app.backend.store_result("again", 2, states.SUCCESS)
    doors.erase(first.id)
    assert app.AsyncResult("again").result == 2


def test_nothing_is_erased_while_the_result_store_is_away(
    doors: Jobs, db: Database, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = full_of_secrets(doors, db)
    before = snapshot(db)

    def away(_: str) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(app.backend, "forget", away)
    with pytest.raises(ResultsUnavailable, match=id):
        doors.erase(id)
    assert snapshot(db) == before
    monkeypatch.undo()
    assert doors.erase(id).erased_at is not None


def test_a_backend_that_keeps_nothing_is_no_hindrance(
    doors: Jobs, db: Database, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = full_of_secrets(doors, db)

    def nothing(_: str) -> None:
        raise NotImplementedError

    monkeypatch.setattr(app.backend, "forget", nothing)
    assert doors.erase(id).erased_at is not None


def test_again_is_no_error_and_changes_nothing(doors: Jobs, db: Database) -> None:
    told: list[Any] = []
    listener = subscribe(lambda event: told.append(event.kind))
    try:
        id = full_of_secrets(doors, db)
        erased = doors.erase(id)
        assert doors.erase(id) == erased
    finally:
        unsubscribe(listener)
    assert told.count(Kind.ERASED) == 1


def test_what_has_not_ended_is_refused(doors: Jobs, db: Database) -> None:
    waits, runs = doors.enqueue(ADD, (1,)).id, doors.enqueue(ADD, (1,)).id
    claim(db, runs)
    retries = doors.enqueue(ADD, (1,)).id
    fail(db, retries)
    before = snapshot(db)
    for id in (waits, runs, retries):
        with pytest.raises(JobNotEnded, match=id):
            doors.erase(id)
    assert snapshot(db) == before


@pytest.mark.parametrize("state", ["due", "sending"])
def test_a_callback_that_is_to_be_sent_is_waited_for(doors: Jobs, db: Database, state: str) -> None:
    run = doors.enqueue(ADD, (1,), callback_url=URL)
    succeed(db, run.id)
    db.run(lambda connection: connection.execute(update(jobs).values(callback_state=state)))
    doors.app.backend.store_result(run.task_id, 7, states.SUCCESS)
    with pytest.raises(JobNotEnded, match="callback"):
        doors.erase(run.id)
    assert doors.get(run.id).erased_at is None
    assert doors.app.AsyncResult(run.task_id).result == 7
    settle_callbacks(db)
    db.run(lambda connection: connection.execute(update(jobs).values(callback_state="sent")))
    doors.erase(run.id)
    with pytest.raises(NoCallback):
        doors.resend_callback(run.id)


def test_what_is_erased_cannot_be_replayed(doors: Jobs, db: Database) -> None:
    id = dead(doors, db, CANARY)
    replays, message = Replays(plugin_of(doors.app), None), reads.message_of(db, id)
    assert message is not None
    begun = replays.make(doors.get(id).attempts[0], message)
    assert doors.erase(id).final_status == "dead_lettered"
    with pytest.raises(JobErased, match=id):
        doors.replay(id, force=True)
    assert [type(outcome) for outcome in dead_letters.replay_all(db, [begun])] == [JobErased]
    assert doors.replay_many(task=ADD).skipped == {"job_erased": (id,)}
    assert doors.purge(id) == 1


def test_a_replay_is_a_run_of_its_own(doors: Jobs, db: Database) -> None:
    id = dead(doors, db, 1, 2)
    again = doors.replay(id)
    doors.erase(id)
    assert doors.arguments(again.id).args == (1, 2)
    assert bury(db, again.id)
    with pytest.raises((AlreadyReplayed, JobErased)):
        doors.replay(id)
    assert doors.replay(again.id).replay_of == again.id


def test_its_key_stays_taken_and_says_nothing_of_what_it_was(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,), idempotency_key="order-7")
    succeed(db, run.id)
    doors.erase(run.id)
    found = doors.enqueue(ADD, (2,), idempotency_key="order-7")
    assert (found.id, found.deduplicated, found.payload_mismatch) == (run.id, True, False)


def test_many_are_erased_by_a_tag(doors: Jobs, db: Database) -> None:
    theirs = [dead(doors, db, n, 1, tags=["customer:42"]) for n in range(3)]
    other = dead(doors, db, 9, 1, tags=["customer:43"])
    waits = doors.enqueue(ADD, (5,), tags=["customer:42"]).id
    before = snapshot(db)
    assert doors.erase_many(tag="customer:42", dry_run=True).done == 3
    assert snapshot(db) == before
    result = doors.erase_many(tag="customer:42")
    assert (result.matched, result.done, result.skipped_count) == (3, 3, 0)
    assert all(doors.get(id).erased_at is not None for id in theirs)
    assert [doors.arguments(id).unreadable for id in (other, waits)] == [None, None]
    assert doors.erase_many([theirs[0], waits]).skipped == {"job_not_ended": (waits,)}
