"""Which jobs an outside worker is given, in which order, and what it is told of each."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import InvalidJob, Jobs
from tests.outside.conftest import ANNE, BEN, ON_SQLITE, OTHER, QUEUE, begin, claim
from tests.store.conftest import RACERS, pause, race, resume, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from celery_jobs.store.db import Database


def test_the_order_is_priority_due_time_and_id(doors: Jobs, later: Callable[[float], None]) -> None:
    given = {"first": 0, "low": -1, "high": 5, "second": 0, "higher": 2**31 - 1}
    for payload, priority in given.items():
        doors.enqueue_payload(QUEUE, payload, priority=priority, scheduled_at=datetime(2026, 1, 1, tzinfo=UTC))
    doors.enqueue_payload(QUEUE, "due last", delay=5)
    later(10)
    doors.enqueue_payload(QUEUE, "not due", priority=9, delay=500)
    claimed = [job.payload for _ in range(2) for job in doors.claim(QUEUE, ANNE, limit=3)]
    assert claimed == ["higher", "high", "first", "second", "due last", "low"]
    assert doors.claim(QUEUE, ANNE, limit=100) == []


def test_a_worker_is_told_all_that_it_needs(doors: Jobs) -> None:
    run = doors.enqueue_payload(QUEUE, {"image": 7}, priority=3, tags=["night"], max_attempts=2)
    job = claim(doors, lease_duration=45)
    assert (job.id, job.original_id, job.queue, job.payload) == (run.id, run.id, QUEUE, {"image": 7})
    assert (job.attempt_number, job.max_attempts, job.priority, job.tags, job.losses) == (1, 2, 3, ["night"], 0)
    assert (job.created_at, job.scheduled_at) == (run.created_at, run.scheduled_at)
    assert timedelta(seconds=44) < job.lease_expires_at - job.started_at < timedelta(seconds=46)
    assert job.to_json()["payload"] == {"image": 7}
    (attempt,) = doors.get(run.id, attempts=True)
    assert (attempt.status, attempt.claimed_by, attempt.worker) == ("processing", ANNE, None)


@ON_SQLITE
def test_a_lease_is_30_s_where_nothing_is_said(doors: Jobs) -> None:
    job = begin(doors)
    assert timedelta(seconds=29) < job.lease_expires_at - job.started_at < timedelta(seconds=31)


VALUES = [None, True, 0, -1.5, "", "thé ☕ \x00", [], [[1], {}], {}, {"a": {"b": None}}, 10**30]
KOMBUS = [{"__type__": "datetime", "__value__": "2026-04-10T12:00:00"}, {"__type__": "none", "__value__": 1}]
"""What kombu would read as a moment, and what it would not read."""


@ON_SQLITE
def test_any_json_value_comes_out_as_it_went_in(doors: Jobs) -> None:
    ids = [doors.enqueue_payload(QUEUE, value).id for value in [*VALUES, *KOMBUS]]
    claimed = doors.claim(QUEUE, ANNE, limit=100)
    assert [job.payload for job in claimed] == [*VALUES, *KOMBUS]
    assert [doors.arguments(id).args for id in ids[-2:]] == [(value,) for value in KOMBUS]
    doors.complete(ids[-1], ANNE)
    doors.replay(ids[-1])
    assert claim(doors).payload == KOMBUS[-1]


def test_what_may_not_run_is_not_claimed(doors: Jobs, db: Database, later: Callable[[float], None]) -> None:
    doors.enqueue_payload(OTHER, "of another queue")
    doors.enqueue_payload(QUEUE, "expired", expires=5)
    cancelled = doors.enqueue_payload(QUEUE, "cancelled")
    doors.cancel(cancelled.id)
    later(10)
    doors.enqueue_payload(QUEUE, "delayed", delay=60)
    assert doors.claim(QUEUE, ANNE, limit=100) == []
    later(61)
    pause(db, QUEUE)
    assert doors.claim(QUEUE, ANNE, limit=100) == []
    resume(db, QUEUE)
    assert claim(doors).payload == "delayed"


@ON_SQLITE
def test_a_job_that_is_fired_is_claimed_at_once(doors: Jobs) -> None:
    run = doors.enqueue_payload(QUEUE, 1, delay=86_400)
    assert doors.claim(QUEUE, ANNE) == []
    assert doors.fire(run.id).status == "pending"
    assert claim(doors).id == run.id


CLAIMED_AT_ONCE, ALL = 3, 200


def test_sixteen_claimers_get_each_job_once(doors: Jobs, session: Session) -> None:
    for number in range(ALL):
        doors.enqueue_payload(QUEUE, number, priority=number % 3, session=session)
    session.commit()

    def drain(worker_id: str) -> list[int]:
        claimed: list[int] = []
        while found := doors.claim(QUEUE, worker_id, limit=CLAIMED_AT_ONCE):
            claimed += [job.payload for job in found]
        return claimed

    got = race(*(partial(drain, f"worker-{number}") for number in range(RACERS)))
    assert Counter(payload for claimed in got for payload in claimed) == Counter(range(ALL))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a queue of Celery's": ({"queue": "celery"}, "queue"),
    "no queue": ({"queue": None}, "queue"),
    "no worker": ({"worker_id": ""}, "worker_id"),
    "a number as a worker": ({"worker_id": 7}, "worker_id"),
    "a long worker": ({"worker_id": "é" * 128}, "worker_id"),
    "a worker with NUL": ({"worker_id": "a\x00"}, "worker_id"),
    "half a character": ({"worker_id": "\ud800"}, "worker_id"),
    "none": ({"limit": 0}, "limit"),
    "too many": ({"limit": 101}, "limit"),
    "true": ({"limit": True}, "limit"),
    "half a one": ({"limit": 1.5}, "limit"),
    "a short lease": ({"lease_duration": 0.5}, "lease_duration"),
    "a long lease": ({"lease_duration": 3601}, "lease_duration"),
    "a lease in words": ({"lease_duration": "30"}, "lease_duration"),
    "no number": ({"lease_duration": float("nan")}, "lease_duration"),
}


@ON_SQLITE
def test_a_wrong_claim_names_what_is_wrong_and_claims_nothing(doors: Jobs, db: Database) -> None:
    doors.enqueue_payload(QUEUE, 1)
    before = snapshot(db)
    for name, (given, field) in WRONG.items():
        with pytest.raises(InvalidJob) as caught:
            doors.claim(**{"queue": QUEUE, "worker_id": ANNE, **given})
        assert caught.value.field == field, name
    assert snapshot(db) == before


def test_the_longest_name_of_a_worker_is_taken(doors: Jobs) -> None:
    doors.enqueue_payload(QUEUE, 1)
    job = claim(doors, "é" * 127 + "x", lease_duration=1)
    assert doors.get(job.id).attempts[0].claimed_by == "é" * 127 + "x"
    assert doors.claim(QUEUE, BEN) == []
