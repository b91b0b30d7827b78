"""`idempotency_ttl`: a key that is free again after a time, and makes one job whoever asks for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from celery_jobs import InvalidJob, Jobs
from celery_jobs.plugin import plugin_of
from tests.jobs.conftest import ADD, bury, count, succeed
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database

PRODUCERS = 16


def test_a_key_is_free_after_its_time_and_not_before(doors: Jobs, db: Database) -> None:
    first = doors.enqueue(ADD, (1,), idempotency_key="k", idempotency_ttl=60)
    row = doors.get(first.id, attempts=True)[0]
    assert row.key_expires_at is not None
    assert timedelta(seconds=59) < row.key_expires_at - row.created_at < timedelta(seconds=61)
    shift(db, 50)
    again = doors.enqueue(ADD, (2,), idempotency_key="k", idempotency_ttl=60)
    assert (again.id, again.deduplicated, again.payload_mismatch) == (first.id, True, True)
    shift(db, 11)
    second = doors.enqueue(ADD, (2,), idempotency_key="k")
    assert (second.deduplicated, second.id != first.id) == (False, True)
    assert (second.idempotency_key, second.key_expires_at) == ("k", None)
    before = doors.get(first.id)
    assert (before.status, before.idempotency_key, before.key_expires_at) == ("pending", None, None)
    shift(db, 10_000)
    assert doors.enqueue(ADD, (3,), idempotency_key="k", idempotency_ttl=1).id == second.id  # which has it for good


def _by_call(app: Celery, doors: Jobs) -> Callable[..., str]:
    def enqueue(**options: Any) -> str:
        result: Any = app.tasks[ADD].apply_async((1,), **options)
        return str(result.job_id)

    return enqueue


def _in_bulk(app: Celery, doors: Jobs) -> Callable[..., str]:
    def enqueue(**options: Any) -> str:
        key = options.pop("idempotency_key")
        others = [{"task": ADD, "args": [n], "idempotency_key": f"{key}-{n}"} for n in range(3)]
        made = doors.enqueue_many([*others, {"task": ADD, "args": [1], "idempotency_key": key}], **options)
        assert [outcome.error for outcome in made] == [None] * 4
        return str(made[-1].job_id)

    return enqueue


def _in_a_batch(app: Celery, doors: Jobs) -> Callable[..., str]:
    def enqueue(**options: Any) -> str:
        with doors.batch():
            result: Any = app.tasks[ADD].apply_async((1,), **options)
        return str(result.job_id)

    return enqueue


def _in_a_transaction(app: Celery, doors: Jobs) -> Callable[..., str]:
    def enqueue(**options: Any) -> str:
        engine = create_engine(plugin_of(app).db.url)
        with Session(engine) as session:
            id = doors.enqueue(ADD, (1,), session=session, **options).id
            session.commit()
        engine.dispose()
        return id

    return enqueue


def _of_http(app: Celery, doors: Jobs) -> Callable[..., str]:
    return lambda **options: doors.enqueue_http("https://shop.example/", **options).id


def _of_a_payload(app: Celery, doors: Jobs) -> Callable[..., str]:
    return lambda **options: doors.enqueue_payload("outside", {"a": 1}, **options).id


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    return new_app(jobs_queues={"outside": {"mode": "pull"}})


DOORS = [_by_call, _in_bulk, _in_a_batch, _in_a_transaction, _of_http, _of_a_payload]


@pytest.mark.parametrize("door", DOORS, ids=[door.__name__[1:] for door in DOORS])
def test_every_door_takes_it(app: Celery, doors: Jobs, db: Database, door: Any) -> None:
    enqueue = door(app, doors)
    options = {"idempotency_key": "k", "idempotency_ttl": 60}
    first = enqueue(**options)
    assert enqueue(**options) == first
    shift(db, 61)
    second = enqueue(**options)
    assert second != first
    assert enqueue(**options) == second


@pytest.mark.parametrize("ttl", [0, -1, 366 * 86_400 + 1, True, "60", float("nan"), float("inf")], ids=repr)
def test_what_is_no_time_is_refused(doors: Jobs, db: Database, ttl: Any) -> None:
    with pytest.raises(InvalidJob, match="idempotency_ttl"):
        doors.enqueue(ADD, (1,), idempotency_key="k", idempotency_ttl=ttl)
    assert count(db) == 0


def test_a_time_without_a_key_is_refused(app: Celery, db: Database) -> None:
    with pytest.raises(InvalidJob, match="idempotency_ttl: needs an idempotency_key"):
        app.tasks[ADD].apply_async((1,), idempotency_ttl=60)
    app.tasks[ADD].apply_async((1,), idempotency_key="k", idempotency_ttl=timedelta(days=366))
    assert count(db) == 1


def test_a_replay_takes_the_key_over_with_the_time_that_it_has_left(doors: Jobs, db: Database) -> None:
    first = bury(db, doors.enqueue(ADD, (1,), idempotency_key="k", idempotency_ttl=60).id)
    shift(db, 40)
    until = doors.get(first).key_expires_at
    replay = doors.replay(first)
    assert (replay.idempotency_key, replay.key_expires_at) == ("k", until)
    assert doors.get(first).key_expires_at is None
    assert doors.enqueue(ADD, (1,), idempotency_key="k").id == replay.id
    shift(db, 21)
    assert doors.enqueue(ADD, (1,), idempotency_key="k").id not in (first, replay.id)
    assert doors.replay(succeed(db, replay.id)).idempotency_key is None


def test_a_rollback_leaves_the_key_where_it_was(app: Celery, doors: Jobs, db: Database) -> None:
    first = doors.enqueue(ADD, (1,), idempotency_key="k", idempotency_ttl=60)
    shift(db, 61)
    engine = create_engine(db.url)
    with Session(engine) as session:
        other = doors.enqueue(ADD, (2,), idempotency_key="k", session=session)
        assert other.id != first.id
        session.rollback()
    engine.dispose()
    assert doors.get(first.id).idempotency_key == "k"
    assert count(db) == 1


@pytest.mark.parametrize("together", [False, True], ids=["each alone", "many keys in bulk"])
def test_many_producers_at_the_moment_make_one_job(doors: Jobs, db: Database, together: bool) -> None:
    """Again and again: whoever comes first at the moment makes it, the others get it."""
    keys = [f"k{n}" for n in range(3)]

    def produce(_: int) -> list[tuple[str, bool]]:
        items = [{"task": ADD, "args": [1], "idempotency_key": key, "idempotency_ttl": 60} for key in keys]
        if together:
            return [(str(one.job_id), one.deduplicated) for one in doors.enqueue_many(items)]
        made = [doors.enqueue(ADD, (1,), idempotency_key=key, idempotency_ttl=60) for key in keys]
        return [(run.id, run.deduplicated) for run in made]

    known: set[str] = set()
    for turn in range(3):
        with ThreadPoolExecutor(PRODUCERS) as pool:
            found = [one for part in pool.map(produce, range(PRODUCERS)) for one in part]
        made = {id for id, deduplicated in found if not deduplicated}
        assert len(made) == len(keys) == [deduplicated for _, deduplicated in found].count(False)
        assert {id for id, _ in found} == made
        assert not made & known
        known |= made
        assert count(db) == (turn + 1) * len(keys)
        shift(db, 61)
