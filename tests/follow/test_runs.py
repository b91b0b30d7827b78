"""What a follower of one run is told, in which order, and how it goes on where it was."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from celery_jobs import JobNotFound, Jobs, WaitTimeout, following
from celery_jobs.run_events import DETAILS
from celery_jobs.store import callbacks, endings
from celery_jobs.store.tables import jobs
from tests.follow.conftest import kinds
from tests.jobs.conftest import ADD, FAILURE, bury, claim, fail, succeed
from tests.store.conftest import change

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database
    from tests.follow.conftest import Follower

    Follow = Callable[..., Follower]

HOOK = "https://shop.example/hook"


def settle(db: Database, job_id: str, error: str | None = None) -> None:
    """Send a callback by hand."""
    (taken,) = callbacks.take(db, [job_id], 60)
    assert callbacks.mark(db, taken, 200 if error is None else 500, error, 7)


def test_a_run_that_has_ended_is_told_from_its_beginning(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,)).id
    retry = fail(db, id, delay=0)
    succeed(db, retry)
    events = list(doors.events(id))
    assert kinds(events) == ["enqueued", "started", "retried", "started", "completed"]
    assert [event.job_id for event in events] == [id, id, id, retry, retry]
    assert [event.attempt_number for event in events] == [1, 1, 1, 2, 2]
    assert {(event.original_id, event.task, event.queue) for event in events} == {(id, ADD, "celery")}
    assert events[2].details["next_job_id"] == retry
    assert events[2].details["error"] == "ValueError: card declined"
    assert events[-1].details == {"final_status": "success", "duration_ms": 5}
    rows = doors.get(id, attempts=True)
    moments = [rows[0].created_at, rows[0].started_at, rows[0].finished_at, rows[1].started_at, rows[1].finished_at]
    assert [event.at for event in events] == moments


def test_what_happens_is_told_as_it_happens(doors: Jobs, db: Database, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,)).id
    follower = follow(id)
    assert kinds(follower.wait_for(1)) == ["enqueued"]
    retry = fail(db, id, delay=0)
    assert kinds(follower.wait_for(3)) == ["enqueued", "started", "retried"]
    claim(db, retry)
    assert kinds(follower.wait_for(4))[3:] == ["started"]
    change(db, retry, lease_token=(token := "00000000-0000-7000-8000-000000000001"))
    assert endings.release(db, retry, token)
    bury(db, retry)
    events = follower.result()
    assert kinds(events)[3:] in (["started", "started", "dead_lettered"], ["started", "dead_lettered"])
    assert (events[-1].job_id, events[-1].details["final_status"]) == (retry, "dead_lettered")


def test_a_lost_attempt_begins_again(doors: Jobs, db: Database, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,)).id
    follower = follow(id)
    token = claim(db, id).lease_token
    follower.wait_for(2)
    assert endings.lose(db, id, 3, lease_token=token) is True
    succeed(db, id)
    events = follower.result()
    assert kinds(events) == ["enqueued", "started", "started", "completed"]
    assert [event.details["losses"] for event in events if event.kind == "job.started"] == [0, 1]


def test_a_run_is_cancelled_while_it_waits(doors: Jobs, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,)).id
    follower = follow(id)
    follower.wait_for(1)
    doors.cancel(id)
    events = follower.result()
    assert kinds(events) == ["enqueued", "cancelled"]
    assert events[-1].details["final_status"] == "cancelled"


def test_a_run_is_asked_to_stop_while_it_runs(doors: Jobs, db: Database, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,)).id
    retry = fail(db, id, delay=0)
    running = claim(db, retry)
    follower = follow(id)
    doors.cancel(id)
    follower.wait_for(5)
    assert endings.lose(db, retry, 3, lease_token=running.lease_token)
    events = follower.result()
    assert kinds(events) == ["enqueued", "started", "retried", "started", "cancel_requested", "cancelled"]
    assert list(kinds(list(doors.events(id)))) == ["enqueued", "started", "retried", "cancelled"]


def test_it_waits_for_the_callbacks_that_are_owed(doors: Jobs, db: Database, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,), callback_url=HOOK).id
    follower = follow(id)
    retry = fail(db, id, delay=0)
    succeed(db, retry)
    follower.wait_for(5)
    settle(db, id, error="HTTP 500")
    assert kinds(follower.wait_for(6))[5:] == ["callback_failed"]
    settle(db, retry)
    events = follower.result()
    assert kinds(events)[5:] == ["callback_failed", "callback_sent"]
    assert events[5].details == {"status": 500, "error": "HTTP 500", "tries": 1, "duration_ms": 7}
    assert (events[6].attempt_number, events[6].details) == (2, {"status": 200, "duration_ms": 7})


def test_replays_are_told_of_the_run_that_they_replay(doors: Jobs, db: Database) -> None:
    id = bury(db, doors.enqueue(ADD, (1,)).id)
    again = doors.replay(id, reason="the bank is back")
    events = list(doors.events(id))
    assert kinds(events) == ["enqueued", "started", "dead_lettered", "replayed"]
    assert (events[-1].job_id, events[-1].original_id) == (again.id, id)
    assert events[-1].details == {"reason": "the bank is back"}
    first = next(doors.events(again.id))
    assert first.details["replay_of"] == id


def test_a_run_that_is_deleted_ends_the_stream(
    doors: Jobs, db: Database, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "NET", 0.3)  # of what is gone nobody tells
    id = doors.enqueue(ADD, (1,)).id
    follower = follow(id)
    follower.wait_for(1)
    with db.transaction() as connection:
        connection.execute(jobs.delete().where(jobs.c.id == id))
    events = follower.result()
    assert kinds(events) == ["enqueued", "deleted"]
    with pytest.raises(JobNotFound):
        doors.events(id, since=events[-1].cursor)


def test_a_dead_letter_is_purged_while_its_callback_is_owed(
    doors: Jobs, db: Database, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "NET", 0.3)
    id = bury(db, doors.enqueue(ADD, (1,), callback_url=HOOK).id)
    follower = follow(id)
    follower.wait_for(3)
    doors.purge(id)
    assert kinds(follower.result()) == ["enqueued", "started", "dead_lettered", "purged"]


def whole_story(doors: Jobs, db: Database) -> str:
    """A run with all that there can be: a retry, callbacks sent once and twice, an end, replays."""
    id = doors.enqueue(ADD, (1,), callback_url=HOOK).id
    retry = fail(db, id, delay=0)
    settle(db, id)
    bury(db, retry)
    settle(db, retry, error="away")
    doors.replay(id)
    doors.replay(id, force=True)
    doors.resend_callback(id, attempt=2)
    settle(db, retry)
    return id


def test_a_follower_that_reconnects_misses_nothing_and_gets_nothing_twice(doors: Jobs, db: Database) -> None:
    id = whole_story(doors, db)
    events = list(doors.events(id))
    assert len(events) == 9
    assert len({event.cursor for event in events}) == 9
    for place, event in enumerate(events):
        assert list(doors.events(id, since=event.cursor)) == events[place + 1 :]


def test_what_comes_late_beside_the_course_is_told_once(doors: Jobs, db: Database) -> None:
    """A callback's outcome that was written down before what has been told, and seen after it."""
    id = doors.enqueue(ADD, (1,), callback_url=HOOK).id
    retry = fail(db, id, delay=0)
    succeed(db, retry)
    stream = doors.events(id, timeout=5)
    told = [next(stream) for _ in range(5)]
    stream.close()
    settle(db, id)
    settle(db, retry)
    change(db, id, callback_at=told[1].at)
    rest = list(doors.events(id, since=told[-1].cursor))
    assert [(kind, event.attempt_number) for kind, event in zip(kinds(rest), rest, strict=True)] == [
        ("callback_sent", 1),
        ("callback_sent", 2),
    ]
    assert kinds(list(doors.events(id)))[1:3] == ["started", "callback_sent"]
    assert list(doors.events(id, since=rest[-1].cursor)) == []


@pytest.mark.parametrize("cursor", ["", "x", "1-0-0", "0.0-0", None], ids=repr)
def test_a_cursor_of_something_else_is_refused_at_once(doors: Jobs, cursor: str | None) -> None:
    id, other = (doors.enqueue(ADD, (n,)).id for n in range(2))
    with pytest.raises(ValueError, match=f"since: the cursor of an event of the run {id} is expected"):
        doors.events(id, since=next(doors.events(other)).cursor if cursor is None else cursor)


def test_what_cannot_be_followed_is_refused_at_once(doors: Jobs) -> None:
    with pytest.raises(JobNotFound):
        doors.events("no such job")
    with pytest.raises(ValueError, match="either the id of one run or a filter"):
        doors.events(doors.enqueue(ADD, (1,)).id, queue="celery")


@pytest.mark.parametrize("timeout", [0, 0.3])
def test_it_follows_no_longer_than_it_is_to(doors: Jobs, timeout: float) -> None:
    id = doors.enqueue(ADD, (1,)).id
    started = time.monotonic()
    stream = doors.events(id, timeout=timeout)
    assert kinds([next(stream)]) == ["enqueued"]
    with pytest.raises(WaitTimeout, match=f"{id} is still pending"):
        next(stream)
    assert timeout <= time.monotonic() - started < timeout + 2


def test_the_json_form_is_that_of_the_documents(doors: Jobs, db: Database) -> None:
    id = whole_story(doors, db)
    for event in doors.events(id):
        form = json.loads(json.dumps(event.to_json()))
        assert form["kind"] == str(event.kind)
        assert datetime.fromisoformat(form["at"]) == event.at.replace(microsecond=event.at.microsecond // 1000 * 1000)
        assert tuple(form["details"]) == DETAILS[event.kind], event


def test_secrets_are_masked(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_redact=["password"])
    doors, db = Jobs(app), app.celery_jobs.db
    id = doors.enqueue(ADD, (1,), callback_url=HOOK).id
    secret = replace(FAILURE, message="password=s3cret is wrong")
    retry = fail(db, id, delay=0, failure=secret)
    settle(db, id, error="password: s3cret")
    bury(db, retry, secret)
    settle(db, retry)
    doors.replay(id, reason="password: s3cret")
    said = json.dumps([event.to_json() for event in doors.events(id)])
    assert "s3cret" not in said
    assert said.count("***") == 4


def test_many_follow_one_run(doors: Jobs, db: Database, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,)).id
    followers = [follow(id) for _ in range(8)]
    for follower in followers:
        follower.wait_for(1)
    succeed(db, fail(db, id, delay=0))
    told = [follower.result() for follower in followers]
    assert all(events == told[0] for events in told)
    assert kinds(told[0]) == ["enqueued", "started", "retried", "started", "completed"]


def test_one_follower_may_be_used_by_several_threads_in_turn(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,)).id
    stream, told = doors.events(id, timeout=30), []
    succeed(db, id)
    for _ in range(3):
        thread = threading.Thread(target=lambda: told.append(next(stream)))
        thread.start()
        thread.join()
    assert kinds(told) == ["enqueued", "started", "completed"]
