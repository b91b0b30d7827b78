"""The verbs on one run: what each does, what each refuses, and what Celery hears of it."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import (
    AlreadyReplayed,
    ArgumentsDoNotFit,
    Job,
    JobDeadLettered,
    JobEnded,
    JobNotEnded,
    JobNotFound,
    JobRunning,
    Jobs,
    NotDeadLettered,
    Run,
)
from celery_jobs.runs import job_json
from celery_jobs.store import attempts, endings
from celery_jobs.store.tables import messages
from tests.apps import working
from tests.jobs.conftest import (
    ADD,
    BOOM,
    Broker,
    bury,
    claim,
    count,
    dead,
    fail,
    pause,
    resume,
    snapshot,
    succeed,
)
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database

VERBS: list[str] = ["cancel", "replay", "fire", "purge", "delete", "erase"]


UNKNOWN = {
    "a word": "order-7",
    "an id": "01999999-9999-7999-8999-999999999999",
    "nothing": "",
    "with NUL": "x\x00y",
    "half a character": "\ud800",
    "a long one": "x" * 5000,
}


@pytest.mark.parametrize("id", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_id_is_not_found_by_any_verb(doors: Jobs, id: str) -> None:
    for verb in [*VERBS, "get", "arguments", "find"]:
        with pytest.raises(JobNotFound):
            getattr(doors, verb)(id)
    with pytest.raises(JobNotFound):
        doors.wait(id, 0)


@pytest.mark.parametrize("name", ["job", "task", "retry", "upper"])
def test_every_verb_takes_any_id_of_a_run(doors: Jobs, db: Database, name: str) -> None:
    run = doors.enqueue(ADD, (1, 2), task_id="mine")
    retry = fail(db, run.id)
    id = {"job": run.id, "task": "mine", "retry": retry, "upper": run.id.upper()}[name]
    assert doors.get(id).id == doors.fire(id).id == doors.cancel(id).id == run.id
    assert doors.replay(id).replay_of == run.id
    assert doors.arguments(id).args == (1, 2)
    assert doors.delete(id) == 2


# cancel


def test_a_cancel_of_what_waits_ends_it_and_celery_hears_of_it(doors: Jobs, app: Celery) -> None:
    result = app.tasks[ADD].apply_async((1,), countdown=600)
    run = doors.cancel(result.id)
    assert (run.status, run.final_status, run.has_ended) == ("cancelled", "cancelled", True)
    assert result.state == "REVOKED"
    assert doors.cancel(result.id) == run


def test_a_cancel_of_a_waiting_retry_ends_the_chain(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,))
    fail(db, run.id)
    cancelled = doors.cancel(run.id)
    assert [(job.status, job.final_status) for job in cancelled.attempts] == [
        ("failed", "cancelled"),
        ("cancelled", "cancelled"),
    ]


def test_a_cancel_of_what_runs_is_a_request(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,))
    running = claim(db, run.id)
    asked = doors.cancel(run.id)
    assert (asked.status, asked.has_ended) == ("processing", False)
    assert asked.cancel_requested_at is not None
    assert doors.cancel(run.id).cancel_requested_at == asked.cancel_requested_at
    assert attempts.complete(db, running, '"done"', 5)
    assert doors.get(run.id).final_status == "success"


def test_what_ended_otherwise_cannot_be_cancelled(doors: Jobs, db: Database) -> None:
    done, died = succeed(db, doors.enqueue(ADD, (1,)).id), dead(doors, db)
    before = snapshot(db)
    for id in (done, died):
        with pytest.raises(JobEnded, match=id):
            doors.cancel(id)
    assert snapshot(db) == before


# replay


def test_a_replay_is_a_new_chain_with_one_message(doors: Jobs, db: Database, broker: Broker) -> None:
    original = dead(doors, db, 1, 2, tags=["a"], priority=4, callback_url="https://example.com", max_attempts=2)
    broker.clear()
    run = doors.replay(original, reason="repaired")
    assert (run.status, run.replay_of, run.replay_reason) == ("pending", original, "repaired")
    assert (run.tags, run.priority, run.callback_url, run.max_attempts) == (["a"], 4, "https://example.com", 2)
    assert doors.arguments(run.id).args == (1, 2)
    entry = doors.get(original)
    assert (entry.final_status, entry.replayed_as) == ("dead_lettered", run.id)
    assert broker.jobs() == {run.id: 1}
    assert [message["properties"]["priority"] for message in broker.messages()] == [3]  # Redis' list of 1 to 9


def test_any_ended_run_can_be_replayed(doors: Jobs, db: Database) -> None:
    done = succeed(db, doors.enqueue(ADD, (1,)).id)
    cancelled = doors.cancel(doors.enqueue(ADD, (1,), delay=600).id).id
    assert doors.replay(done).replay_of == done
    assert doors.replay(cancelled).replay_of == cancelled


def test_what_has_not_ended_cannot_be_replayed(doors: Jobs, db: Database, broker: Broker) -> None:
    waiting, running, retried = (doors.enqueue(ADD, (1,)).id for _ in range(3))
    claim(db, running)
    fail(db, retried)
    before = (snapshot(db), broker.jobs())
    for id in (waiting, running, retried):
        with pytest.raises(JobNotEnded, match=id):
            doors.replay(id, force=True)
    assert (snapshot(db), broker.jobs()) == before


def test_a_second_replay_needs_force(doors: Jobs, db: Database) -> None:
    original = dead(doors, db)
    first = doors.replay(original)
    with pytest.raises(AlreadyReplayed, match=first.id):
        doors.replay(original)
    second = doors.replay(original, force=True)
    assert {run.id for run in doors.list(replay_of=original)} == {first.id, second.id}


def test_arguments_that_no_longer_fit_are_reported_and_not_sent(
    doors: Jobs, app: Celery, db: Database, broker: Broker
) -> None:
    app.tasks[ADD].typing = False
    original = dead(doors, db, 1, 2, 3)
    before = (snapshot(db), broker.jobs())
    with pytest.raises(ArgumentsDoNotFit, match="too many positional"):
        doors.replay(original)
    assert (snapshot(db), broker.jobs()) == before


def test_a_replay_runs(doors: Jobs, app: Celery, db: Database) -> None:
    original = dead(doors, db, 20, 1)
    with working(app):
        assert doors.wait(doors.replay(original).id, 40).result == 21


# fire


def test_a_job_held_for_an_hour_runs_now(doors: Jobs, app: Celery) -> None:
    result = app.tasks[ADD].apply_async((1, 2), countdown=3600)
    with working(app):
        assert doors.fire(result.id).status in ("pending", "processing", "completed")
        assert result.get(timeout=40) == 3


def test_a_retry_that_waits_runs_now(doors: Jobs, app: Celery, broker: Broker) -> None:
    run = doors.enqueue(BOOM, retry_delays=[3600])
    with working(app):
        wait_until(lambda: doors.get(run.id).attempt_number == 2)
        fired = doors.fire(run.id)
        assert fired.attempt_number == 2
        ended = doors.wait(run.id, 40)
    assert (ended.final_status, ended.attempt_number) == ("dead_lettered", 2)
    assert broker.count() == 0


def test_a_fired_job_has_one_message_that_says_no_eta(doors: Jobs, broker: Broker) -> None:
    run = doors.enqueue(ADD, (1,), delay=3600)
    assert broker.count() == 0
    doors.fire(run.id)
    doors.fire(run.id)
    (message,) = broker.messages()
    assert message["headers"]["eta"] is None
    assert message["headers"]["celery_job"] == run.id


def test_what_is_in_the_broker_and_due_is_not_sent_again(doors: Jobs, broker: Broker) -> None:
    run = doors.enqueue(ADD, (1,))
    assert doors.fire(run.id).status == "pending"
    assert broker.jobs() == {run.id: 1}


def test_in_a_paused_queue_it_waits_for_the_end_of_the_pause(doors: Jobs, db: Database, broker: Broker) -> None:
    pause(db)
    run = doors.enqueue(ADD, (1,), delay=3600)
    fired = doors.fire(run.id)
    assert fired.scheduled_at < run.scheduled_at
    assert (fired.attempts[0].sent_at, broker.count()) == (None, 0)
    resume(db)
    doors.fire(run.id)
    assert broker.jobs() == {run.id: 1}


def test_what_runs_or_has_ended_cannot_be_fired(doors: Jobs, db: Database, broker: Broker) -> None:
    running, ended = doors.enqueue(ADD, (1,)).id, succeed(db, doors.enqueue(ADD, (1,)).id)
    claim(db, running)
    before = (snapshot(db), broker.jobs())
    with pytest.raises(JobRunning, match=running):
        doors.fire(running)
    for id in (ended,):
        with pytest.raises(JobEnded, match=id):
            doors.fire(id)
    assert (snapshot(db), broker.jobs()) == before


# purge and delete


def test_a_purge_deletes_every_attempt_and_message(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,))
    bury(db, fail(db, run.id, delay=0))
    assert doors.purge(run.id) == 2
    assert (count(db), count(db, messages)) == (0, 0)
    with pytest.raises(JobNotFound):
        doors.get(run.id)


def test_only_dead_letters_are_purged(doors: Jobs, db: Database) -> None:
    waiting, running, done = (doors.enqueue(ADD, (1,)).id for _ in range(3))
    claim(db, running)
    succeed(db, done)
    before = snapshot(db)
    for id in (waiting, running, done):
        with pytest.raises(NotDeadLettered, match=id):
            doors.purge(id)
    assert snapshot(db) == before


def test_a_delete_of_what_waits_tells_celery(doors: Jobs, app: Celery, db: Database) -> None:
    result = app.tasks[ADD].apply_async((1,), countdown=600)
    assert doors.delete(result.id) == 1
    assert result.state == "REVOKED"
    assert (count(db), count(db, messages)) == (0, 0)


def test_a_delete_takes_every_attempt_and_message(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,))
    fail(db, run.id)
    other = doors.enqueue(ADD, (2,))
    assert doors.delete(run.id) == 2
    assert (count(db), count(db, messages)) == (1, 1)
    assert doors.delete(succeed(db, other.id)) == 1
    assert count(db) == 0


def test_what_runs_or_is_dead_is_not_deleted(doors: Jobs, db: Database) -> None:
    running, died = doors.enqueue(ADD, (1,)).id, dead(doors, db)
    claim(db, running)
    before = snapshot(db)
    with pytest.raises(JobRunning, match=running):
        doors.delete(running)
    with pytest.raises(JobDeadLettered, match="purge"):
        doors.delete(died)
    assert snapshot(db) == before


def test_the_message_of_a_deleted_job_runs_nothing(doors: Jobs, app: Celery, broker: Broker) -> None:
    run = doors.enqueue(ADD, (1,))
    doors.delete(run.id)
    assert broker.count() == 1
    with working(app):
        wait_until(lambda: broker.count() == 0)
        later = doors.enqueue(ADD, (2,))
        assert doors.wait(later.id, 40).result == 2
    assert doors.count() == 1


def test_a_key_is_free_again_when_its_chain_is_deleted(doors: Jobs) -> None:
    first = doors.enqueue(ADD, (1,), idempotency_key="k")
    doors.delete(first.id)
    assert doors.enqueue(ADD, (1,), idempotency_key="k").id != first.id


# Between the look and the act


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen once, after the verb has read its runs."""
    from celery_jobs import jobs as module

    real = module.Jobs._chain
    happened: list[str] = []

    def chain(self: Jobs, id: str) -> Any:
        found = real(self, id)
        if not happened:
            happened.append(id)
            act()
        return found

    monkeypatch.setattr(module.Jobs, "_chain", chain)


STARTS: dict[str, type[Exception]] = {"fire": JobRunning, "delete": JobRunning}


@pytest.mark.parametrize(("verb", "error"), STARTS.items())
def test_a_run_that_starts_meanwhile_is_left_alone(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch, verb: str, error: type[Exception]
) -> None:
    run = doors.enqueue(ADD, (1,))
    between(monkeypatch, lambda: claim(db, run.id))
    with pytest.raises(error, match=run.id):
        getattr(doors, verb)(run.id)
    assert doors.get(run.id).status == "processing"


ENDS: dict[str, type[Exception]] = {"fire": JobEnded, "cancel": JobEnded}


@pytest.mark.parametrize(("verb", "error"), ENDS.items())
def test_a_run_that_ends_meanwhile_is_said_to_have_ended(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch, verb: str, error: type[Exception]
) -> None:
    run = doors.enqueue(ADD, (1,))
    between(monkeypatch, lambda: succeed(db, run.id))
    with pytest.raises(error, match=run.id):
        getattr(doors, verb)(run.id)
    assert doors.get(run.id).final_status == "success"


def test_a_run_that_dies_meanwhile_is_to_be_purged(doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    run = doors.enqueue(ADD, (1,))
    between(monkeypatch, lambda: bury(db, run.id))
    with pytest.raises(JobDeadLettered, match=run.id):
        doors.delete(run.id)
    assert doors.get(run.id).final_status == "dead_lettered"


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_is_deleted_meanwhile_is_not_found(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    from celery_jobs.store import dead_letters

    if verb in ("purge", "replay", "erase"):
        id = dead(doors, db)
        between(monkeypatch, lambda: dead_letters.purge(db, [id]))
    else:
        id = doors.enqueue(ADD, (1,)).id

        def delete() -> None:
            endings.cancel(db, id)
            endings.mark_told(db, id)
            dead_letters.delete(db, [id])

        between(monkeypatch, delete)
    with pytest.raises(JobNotFound, match=id):
        getattr(doors, verb)(id)


# Forms


RESPONSE_FIELDS = [
    *("response_status", "response_headers", "response_body", "response_body_base64", "response_truncated"),
]

RUN_FIELDS = [
    *("id", "task_id", "task", "queue", "status", "final_status", "attempt_number", "max_attempts", "priority"),
    *("tags", "created_at", "scheduled_at", "started_at", "finished_at", "ended_at", "dead_lettered_at", "alerted_at"),
    *("expires_at", "cancel_requested_at", "duration_ms", "result", *RESPONSE_FIELDS),
    *(
        "failure_reason",
        "error_type",
        "error_message",
        "traceback",
        "has_pending_retry",
        "losses",
        "idempotency_key",
        "key_expires_at",
        "concurrency_key",
        "waits_for",
        "callback_url",
        "replay_of",
    ),
    *("replay_reason", "replayed_at", "replayed_as", "replaced_by", "resolved_by", "erased_at", "attempts"),
    *("deduplicated", "payload_mismatch", "replaced"),
]

JOB_FIELDS = [
    *("id", "original_id", "task_id", "task", "queue", "status", "final_status", "attempt_number", "max_attempts"),
    *("retries_enabled", "is_retry", "has_pending_retry", "created_at", "scheduled_at", "retries", "policy_retries"),
    *("retry_policy", "priority", "tags", "expires_at", "sent_at", "send_count", "worker", "losses", "started_at"),
    *("finished_at", "ended_at", "cancel_requested_at", "duration_ms", "result", *RESPONSE_FIELDS),
    *("failure_reason", "error_type", "error_message", "traceback", "last_error_type", "last_error_message"),
    *("idempotency_scope", "idempotency_key", "key_expires_at", "concurrency_key", "concurrency_limit"),
    *("callback_url",),
    *("callback_state", "callback_at", "callback_tries", "callback_status", "callback_duration_ms", "callback_error"),
    *("dead_lettered_at", "alerted_at", "replay_of", "replay_reason", "replayed_at", "replayed_as"),
    *("replaced_by", "resolved_by", "waits_for", "claimed_by", "erased_at"),
]


def test_a_run_is_a_frozen_value_with_a_documented_form(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,), tags={"a": [1, None]}, retry_delays=[1, 2], expires=600)
    fail(db, run.id)
    run = doors.get(run.id)
    said = json.loads(json.dumps(run.to_json()))
    assert list(said) == RUN_FIELDS
    assert [name for name in RUN_FIELDS if name not in RESPONSE_FIELDS[1:]] == [
        field.name for field in fields(Run) if field.name != "response"
    ]
    assert [list(job) for job in said["attempts"]] == [JOB_FIELDS, JOB_FIELDS]
    assert said["created_at"].endswith("Z")
    assert (said["id"], said["tags"], said["attempts"][1]["is_retry"]) == (run.id, {"a": [1, None]}, True)
    with pytest.raises(FrozenInstanceError):
        run.status = "completed"  # type: ignore[misc]


def test_a_row_is_a_frozen_value_with_a_documented_form(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,))
    succeed(db, run.id)
    (job,) = doors.get(run.id, attempts=True)
    assert isinstance(job, Job)
    assert json.loads(json.dumps(job_json(job)))["result"] == "done"
    with pytest.raises(FrozenInstanceError):
        job.status = "failed"  # type: ignore[misc]


def test_arguments_are_a_frozen_value_with_a_documented_form(doors: Jobs) -> None:
    arguments = doors.arguments(doors.enqueue(ADD, (1,), {"y": {"b": [2]}}).id)
    assert json.loads(json.dumps(arguments.to_json())) == {"args": [1], "kwargs": {"y": {"b": [2]}}, "unreadable": None}
    assert str(arguments) == "(1, y={'b': [2]})"
    with pytest.raises(FrozenInstanceError):
        arguments.args = ()  # type: ignore[misc]


def test_arguments_that_only_celery_can_say_have_a_json_form_too(doors: Jobs) -> None:
    from datetime import UTC, datetime
    from decimal import Decimal
    from uuid import UUID

    values = (datetime(2026, 4, 10, tzinfo=UTC), Decimal("1.50"), UUID(int=7))
    arguments = doors.arguments(doors.enqueue(ADD, (values,), {"y": {"at": values[0]}}).id)
    said = json.loads(json.dumps(arguments.to_json(), allow_nan=False))
    assert "1.50" in said["args"][0]
    assert said["kwargs"]["y"]["at"].startswith("2026-04-10")


def test_arguments_that_cannot_be_read_here_say_so(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(ADD, (1,))
    db.run(lambda connection: connection.execute(messages.update().values(content_type="application/x-secret")))
    arguments = doors.arguments(run.id)
    assert arguments.unreadable is not None
    assert "x-secret" in arguments.unreadable
    assert json.dumps(arguments.to_json())
