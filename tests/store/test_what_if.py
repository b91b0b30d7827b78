"""The newest runs counted by the way they went, on a history made by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from celery_jobs.store import chains
from celery_jobs.store.rows import Failure
from celery_jobs.store.what_if import Tallies, Tally, tally
from tests.store.conftest import (
    FAILURE,
    QUEUE,
    TASK,
    begin,
    claim,
    complete,
    dead_letter,
    new_job,
    new_message,
    replay,
    retry,
    shift,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database

OFF: dict[str, Any] = {"retries_enabled": False}


def look(db: Database, since: Any = 3600, queue: str | None = None, within: float = 60, limit: int = 1000) -> Tallies:
    return tally(db, since, queue, within, limit)


def fail(db: Database, failure: Failure = FAILURE, **overrides: Any) -> str:
    """A run that failed with retries off."""
    job = begin(db, **OFF, **overrides)
    assert chains.bury(db, job, failure) == chains.Ended(job.id, chains.verdict_of(False))
    return job.id


def ways(found: Tallies, *names: str) -> list[tuple[Any, ...]]:
    """What the tallies say of these, in one order."""
    return sorted((tuple(getattr(one, name) for name in names) for one in found.tallies), key=repr)


def duplicates(found: Tallies) -> tuple[int, int]:
    return sum(one.duplicates for one in found.tallies), sum(one.overlapping for one in found.tallies)


def test_an_empty_database_has_nothing_to_tell(db: Database) -> None:
    found = look(db)
    assert (found.complete, found.tallies) == (True, ())
    assert timedelta(seconds=3590) < datetime.now(UTC) - found.since < timedelta(seconds=3660)


def test_runs_are_counted_by_the_way_they_failed_with_retries_off_and_others_as_one(db: Database) -> None:
    for number in range(3):
        fail(db, args=[number], retry_policy={"delays": [5.0], "max_attempts": None, "jitter": False})
    fail(db, Failure("timeout", "SoftTimeLimitExceeded", "late", None), args=[3])
    complete(db, store(db, args=[4]))
    dead_letter(db, args=[5])
    retry(db, begin(db, args=[6]))
    store(db, args=[7], queue="mail", task=None)
    policy = {"delays": [5.0], "max_attempts": None, "jitter": False}
    assert sorted(look(db).tallies, key=repr) == sorted(
        [
            Tally("mail", None, False, None, None, None, None, False, 1, 0, 0),
            Tally(QUEUE, TASK, False, None, None, None, None, False, 3, 0, 0),
            Tally(QUEUE, TASK, True, "exception", "ValueError", 0, policy, False, 3, 0, 0),
            Tally(QUEUE, TASK, True, "timeout", "SoftTimeLimitExceeded", 0, None, False, 1, 0, 0),
        ],
        key=repr,
    )


def test_of_celerys_own_retries_the_last_one_tells_how_it_failed(db: Database) -> None:
    job = begin(db, **OFF)
    for _ in range(2):
        again = chains.retry(db, job, FAILURE, chains.Next(by_policy=False), 5)
        assert isinstance(again, chains.Retried)
        job = claim(db, again.job_id)
    chains.bury(db, job, Failure("no_retry", "shop.Gone", "gone", None))
    assert ways(look(db), "failed", "failure_reason", "error_type", "retries", "runs") == [
        (True, "no_retry", "shop.Gone", 2, 1)
    ]


def test_the_same_again_soon_or_before_the_end_is_a_duplicate(db: Database) -> None:
    complete(db, store(db))
    shift(db, 50)
    waiting = store(db)
    assert duplicates(look(db)) == (1, 0)
    shift(db, 300)
    store(db)
    assert duplicates(look(db)) == (2, 1)
    assert duplicates(look(db, within=10)) == (1, 1)
    complete(db, waiting)
    assert duplicates(look(db)) == (2, 1)


def test_a_run_that_outlasts_others_like_it_overlaps_with_all_of_them(db: Database) -> None:
    store(db)
    for _ in range(2):
        shift(db, 600)
        complete(db, store(db))
    assert duplicates(look(db)) == (2, 2)


def test_what_is_meant_to_be_the_same_is_no_duplicate(db: Database) -> None:
    dead = dead_letter(db)
    replay(db, new_job(replay_of=dead))
    shift(db, 100)
    for key in ("one", "two"):
        store(db, idempotency_scope=TASK, idempotency_key=key)
        store(db, message=new_message(headers=json.dumps({"group": "g-1"})))
    store(db, args=[2])
    store(db, task="shop.refund", args=[2])
    large = new_message(body=b"x" * 65_537)
    store(db, message=large)
    store(db, message=new_message(body=large.body))
    assert duplicates(look(db)) == (0, 0)


def test_a_failure_is_got_over_where_the_same_has_begun_and_succeeded_since(db: Database) -> None:
    complete(db, store(db))
    shift(db, 100)
    failed = fail(db)
    fail(db, args=[2])
    shift(db, 100)
    complete(db, store(db, args=[3]))
    assert ways(look(db), "failed", "got_over", "runs") == [(False, False, 2), (True, False, 2)]
    complete(db, replay(db, new_job(replay_of=failed)).job_id)
    assert ways(look(db), "failed", "got_over", "runs") == [(False, False, 3), (True, False, 1), (True, True, 1)]


def test_only_runs_of_the_window_and_of_the_queue_are_counted(db: Database) -> None:
    fail(db)
    shift(db, 3700)
    second = fail(db, args=[2])
    shift(db, 100)
    fail(db, args=[3], queue="mail")
    assert ways(look(db), "queue", "runs") == [("mail", 1), (QUEUE, 1)]
    assert ways(look(db, queue="mail"), "queue", "runs") == [("mail", 1)]
    at = stored(db, second).created_at
    found = look(db, at)
    assert (found.since, found.complete, sum(one.runs for one in found.tallies)) == (at, True, 2)
    assert sum(one.runs for one in look(db, at + timedelta(seconds=1)).tallies) == 1


@pytest.mark.parametrize("limit", [1, 3])
def test_the_newest_runs_alone_are_looked_at_and_it_says_so(db: Database, limit: int) -> None:
    ids = []
    for number in range(3):
        shift(db, 10)
        retry(db, begin(db, args=[number]))
        ids.append(store(db, args=[number + 10]))
    found = look(db, limit=2 * limit)
    assert sum(one.runs for one in found.tallies) == 2 * limit
    assert found.complete == (limit == 3)
    if limit < 3:
        assert stored(db, ids[2 - limit]).created_at < found.since < stored(db, ids[3 - limit]).created_at
        assert look(db, 10 * limit - 5, limit=2 * limit).complete


def test_a_look_goes_by_the_indexes(db: Database) -> None:
    fail(db)
    said: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("WITH"):
            said.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    look(db)
    event.remove(db.engine, "before_cursor_execute", note)
    ((statement, parameters),) = said
    assert "traceback" not in statement
    explain = "EXPLAIN QUERY PLAN" if db.is_sqlite else "EXPLAIN"
    with db.transaction() as connection:
        for other in () if db.is_sqlite else ("seqscan", "bitmapscan", "sort"):  # cheaper where so few rows are
            connection.exec_driver_sql(f"SET LOCAL enable_{other} = off")
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
    keys = "sqlite_autoindex_{}_1" if db.is_sqlite else "{}_pkey"
    for index in (keys.format("jobs"), keys.format("messages"), "jobs_attempts"):
        assert index in plan
