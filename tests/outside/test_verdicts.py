"""What becomes of the jobs of outside workers: retries, dead letters, replays, cancels, and who hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.callbacks import due_callbacks
from celery_jobs.events import Kind
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store.tables import jobs as rows
from tests.outside.conftest import ANNE, BEN, DELAYS, HOOK, ON_SQLITE, PLAIN, QUEUE, begin, claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs import Jobs
    from celery_jobs.events import Event
    from celery_jobs.store.db import Database


@pytest.fixture
def backend(app: Celery, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Celery's result backend is told."""
    heard: list[str] = []
    for name in ("mark_as_done", "mark_as_failure", "mark_as_revoked", "mark_as_retry"):
        monkeypatch.setattr(app.backend, name, lambda *_, name=name, **__: heard.append(name))
    return heard


def fail_for_good(doors: Jobs, later: Callable[[float], None], **options: Any) -> str:
    """A dead letter, after an attempt more than there are delays."""
    run = doors.enqueue_payload(QUEUE, {"image": 7}, **options)
    for wait in [*DELAYS, None]:
        job = claim(doors)
        doors.fail(job.id, ANNE, f"attempt {job.attempt_number} found no image")
        if wait is not None:
            later(wait - 5)
            assert doors.claim(QUEUE, ANNE) == []
            later(6)
    return run.id


def test_failures_are_retried_by_the_policy_until_it_is_a_dead_letter(
    doors: Jobs, later: Callable[[float], None], heard: list[Event], backend: list[str]
) -> None:
    run = doors.get(fail_for_good(doors, later, callback_url=HOOK))
    assert (run.status, run.final_status, run.attempt_number) == ("failed", "dead_lettered", 3)
    assert (run.failure_reason, run.error_type, run.error_message) == (
        "exception",
        None,
        "attempt 3 found no image",
    )
    assert [job.final_status for job in run.attempts] == ["dead_lettered", "failed_with_retries", "failed_with_retries"]
    kinds = [event.kind for event in heard if str(event.kind).startswith("job.")]
    retried = [Kind.STARTED, Kind.RETRIED]
    assert kinds == [Kind.ENQUEUED, *retried, *retried, Kind.STARTED, Kind.DEAD_LETTERED]
    assert {event.task for event in heard} == {None}
    assert {(event.original_id, event.queue) for event in heard} == {(run.id, QUEUE)} | {
        (None, QUEUE) for event in heard if event.kind == Kind.ENQUEUED
    }
    callbacks = [callback.body for callback in due_callbacks(run.attempts)]
    assert [body["status"] for body in callbacks] == ["retrying", "failed_with_retries", "dead_lettered"]
    assert {(body["task"], body["queue"]) for body in callbacks} == {(None, QUEUE)}
    assert [job.callback_state for job in run.attempts] == ["due"] * 3
    assert backend == []
    assert [group.count for group in doors.error_groups()] == [1]


@ON_SQLITE
def test_a_failure_without_retries_ends_it(doors: Jobs) -> None:
    doors.enqueue_payload(PLAIN, 1)
    (job,) = doors.claim(PLAIN, ANNE)
    assert doors.fail(job.id, ANNE, "x").final_status == "failed_no_retries"


@ON_SQLITE
def test_a_success_after_a_retry_ends_the_chain(doors: Jobs, later: Callable[[float], None]) -> None:
    job = begin(doors)
    doors.fail(job.id, ANNE, "x")
    later(61)
    again = claim(doors, BEN)
    assert (again.attempt_number, again.original_id) == (2, job.id)
    run = doors.complete(again.id, BEN, [1])
    assert (run.id, run.final_status, run.result, run.resolved_by) == (job.id, "success", [1], again.id)


def test_a_replay_is_a_new_job_for_outside_workers(doors: Jobs, later: Callable[[float], None]) -> None:
    dead = fail_for_good(doors, later, idempotency_key="image-7", tags=["night"], priority=4, callback_url=HOOK)
    again = doors.replay(dead, reason="found it")
    assert (again.replay_of, again.task, again.queue, again.status) == (dead, None, QUEUE, "pending")
    assert (again.tags, again.priority, again.callback_url, again.idempotency_key) == (["night"], 4, HOOK, "image-7")
    assert again.attempts[0].sent_at is None
    assert doors.enqueue_payload(QUEUE, {"image": 7}, idempotency_key="image-7").id == again.id
    job = claim(doors)
    assert (job.id, job.payload, job.attempt_number) == (again.id, {"image": 7}, 1)
    assert doors.complete(job.id, ANNE).final_status == "success"
    result = doors.replay_many([dead], force=True)
    assert (result.done, claim(doors).payload) == (1, {"image": 7})


def test_what_waits_is_cancelled_at_once(doors: Jobs, heard: list[Event], backend: list[str], db: Database) -> None:
    run = doors.enqueue_payload(QUEUE, 1, callback_url=HOOK)
    assert doors.cancel(run.id).final_status == "cancelled"
    assert doors.claim(QUEUE, ANNE) == []
    assert [event.kind for event in heard] == [Kind.ENQUEUED, Kind.CANCELLED]
    assert backend == []
    assert untold(db) == [None]
    assert doors.delete(run.id) == 1


def untold(db: Database) -> list[Any]:
    with db.reading() as connection:
        return [row.untold_at for row in connection.execute(rows.select())]


@pytest.mark.parametrize("attempts", [3, 1])
def test_who_is_asked_to_stop_may_say_so(doors: Jobs, attempts: int, backend: list[str], db: Database) -> None:
    job = begin(doors, max_attempts=attempts)
    assert doors.cancel(job.id).status == "processing"
    assert doors.heartbeat(job.id, ANNE).cancel_requested
    run = doors.fail(job.id, ANNE, "stopped")
    assert (run.status, run.final_status, run.attempt_number) == ("cancelled", "cancelled", 1)
    assert doors.fail(job.id, ANNE, "stopped") == run
    assert (backend, untold(db)) == ([], [None])


@ON_SQLITE
def test_who_completes_it_all_the_same_has(doors: Jobs) -> None:
    job = begin(doors)
    doors.cancel(job.id)
    assert doors.complete(job.id, ANNE).final_status == "success"


@ON_SQLITE
def test_who_is_lost_after_a_cancel_ends_it(doors: Jobs, later: Callable[[float], None]) -> None:
    job = begin(doors)
    doors.cancel(job.id)
    later(31)
    assert doors.claim(QUEUE, BEN) == []
    assert doors.get(job.id).final_status == "cancelled"


def test_what_expires_is_cancelled_and_celery_hears_nothing(
    app: Celery, doors: Jobs, later: Callable[[float], None], heard: list[Event], backend: list[str], db: Database
) -> None:
    run = doors.enqueue_payload(QUEUE, 1, expires=5)
    later(6)
    make_service(plugin_of(app), "redispatcher").run_once()
    run = doors.get(run.id)
    assert (run.final_status, run.failure_reason) == ("cancelled", "expired")
    assert [event.kind for event in heard] == [Kind.ENQUEUED, Kind.CANCELLED]
    assert (backend, untold(db)) == ([], [None])


def test_what_is_asked_about_runs_lives_with_no_task(doors: Jobs, later: Callable[[float], None]) -> None:
    dead = fail_for_good(doors, later)
    running = begin(doors, "busy")
    doors.enqueue_payload(QUEUE, "waits")
    doors.enqueue_payload(QUEUE, "later", delay=600)
    assert [run.id for run in doors.list(status="processing")] == [running.id]
    assert [run.id for run in doors.list(status="dead")] == [dead]
    assert len(doors.list(status="pending", queue=QUEUE)) == 2
    found = {stats.queue: stats for stats in doors.queues()}[QUEUE]
    assert (found.waiting, found.scheduled, found.processing, found.dead_lettered) == (1, 1, 1, 1)
    assert doors.what_if().total.runs == 4
    assert doors.purge(dead) == 3
