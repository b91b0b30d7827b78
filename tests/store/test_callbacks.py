"""The callbacks that attempts owe: marked with their end, taken by one sender at a time, settled once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from celery_jobs import failpoints
from celery_jobs.store import attempts, callbacks, chains, endings
from tests.store.conftest import (
    FAILURE,
    begin,
    change,
    claim,
    complete,
    race,
    retry,
    shift,
    store,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.store.callbacks import Taken
    from celery_jobs.store.db import Database

URL = "https://shop.example/hook"
LEASE = 30.0


def ended(db: Database, url: str | None = URL) -> str:
    """A job that has succeeded."""
    return complete(db, store(db, callback_url=url))


def take_all(db: Database) -> list[Taken]:
    return callbacks.take(db, [found.job_id for found in callbacks.unsent(db, 100)], LEASE)


def taken(db: Database) -> Taken:
    (callback,) = take_all(db)
    return callback


def outcome(db: Database, job_id: str) -> tuple[Any, ...]:
    job = stored(db, job_id)
    return job.callback_state, job.callback_status, job.callback_error, job.callback_duration_ms, job.callback_tries


def owed(db: Database) -> list[str]:
    return [found.job_id for found in callbacks.unsent(db, 100)]


def succeed(db: Database) -> str:
    return ended(db)


def fail_for_good(db: Database) -> str:
    job = begin(db, callback_url=URL)
    assert chains.bury(db, job, FAILURE)
    return job.id


def fail_and_retry(db: Database) -> str:
    job = begin(db, callback_url=URL)
    retry(db, job, delay=60)
    return job.id


def fail_after_a_cancel(db: Database) -> str:
    job = begin(db, callback_url=URL)
    assert endings.cancel(db, job.id) is True
    assert isinstance(chains.retry(db, job, FAILURE, chains.Next()), chains.Ended)
    return job.id


def be_cancelled(db: Database) -> str:
    job_id = store(db, callback_url=URL)
    assert isinstance(endings.cancel(db, job_id), endings.Ended)
    return job_id


def expire(db: Database) -> str:
    job_id = store(db, callback_url=URL)
    change(db, job_id, expires_at=stored(db, job_id).created_at)
    assert isinstance(endings.expire(db, job_id), endings.Ended)
    return job_id


def be_lost_for_good(db: Database) -> str:
    job = begin(db, callback_url=URL)
    assert isinstance(endings.lose(db, job.id, 1, lease_token=job.lease_token), endings.Ended)
    return job.id


def be_refused_for_good(db: Database) -> str:
    job_id = store(db, callback_url=URL)
    assert isinstance(endings.refuse(db, job_id, "unknown_task", "nobody knows it", 1), endings.Ended)  # type: ignore[arg-type]
    return job_id


ENDS = [
    succeed,
    fail_for_good,
    fail_and_retry,
    fail_after_a_cancel,
    be_cancelled,
    expire,
    be_lost_for_good,
    be_refused_for_good,
]


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_an_attempt_makes_its_callback_due_at_that_moment(
    db: Database, end: Callable[[Database], str]
) -> None:
    job = stored(db, end(db))
    assert job.callback_state == "due"
    assert job.callback_at is not None
    assert job.finished_at is not None
    assert abs((job.callback_at - job.finished_at).total_seconds()) < 0.1
    assert owed(db) == [job.id]


def test_each_attempt_of_a_chain_owes_one_of_its_own_in_the_order_of_their_ends(db: Database) -> None:
    first = begin(db, callback_url=URL)
    second = retry(db, first).job_id
    assert owed(db) == [first.id]
    third = retry(db, claim(db, second)).job_id
    assert attempts.complete(db, claim(db, third), None, 5)
    assert owed(db) == [first.id, second, third]


def test_the_later_ones_of_a_chain_wait_while_an_earlier_one_is_being_sent(db: Database) -> None:
    first = begin(db, callback_url=URL)
    second = retry(db, first).job_id
    third = retry(db, claim(db, second)).job_id
    other = ended(db)
    (callback,) = callbacks.take(db, [first.id], LEASE)
    assert owed(db) == [other, first.id]
    shift(db, LEASE)  # its sender has died
    assert set(owed(db)) == {first.id, second, other}
    (callback,) = callbacks.take(db, [first.id], LEASE)
    assert callbacks.mark(db, callback, 500, "no", 5, again_in=100)
    assert set(owed(db)) == {first.id, second, other}
    (callback,) = callbacks.take(db, [second], LEASE)
    assert attempts.complete(db, claim(db, third), None, 5)
    assert set(owed(db)) == {first.id, second, other}


@pytest.mark.parametrize("url", [URL, None])
def test_what_has_not_ended_owes_nothing(db: Database, url: str | None) -> None:
    lost = begin(db, callback_url=url)
    assert endings.lose(db, lost.id, 3, lease_token=lost.lease_token) is True
    released = begin(db, callback_url=url)
    assert endings.release(db, released.id, released.lease_token) is True
    begin(db, callback_url=url)
    store(db, callback_url=url)
    assert owed(db) == []


def test_a_job_without_a_url_owes_nothing(db: Database) -> None:
    job = stored(db, ended(db, url=None))
    assert (job.callback_state, job.callback_at, job.callback_tries) == (None, None, 0)
    assert owed(db) == []


def test_one_that_is_taken_is_nobody_elses(db: Database) -> None:
    job_id = ended(db)
    callback = taken(db)
    assert (callback.job_id, callback.original_id, callback.url, callback.tries) == (job_id, job_id, URL, 1)
    assert callbacks.take(db, [job_id], LEASE) == []
    (found,) = callbacks.unsent(db, 100)
    assert 0 < found.wait <= LEASE


def test_one_whose_sender_has_died_is_taken_again_when_the_lease_is_over(db: Database) -> None:
    ended(db)
    dead = taken(db)
    shift(db, LEASE)
    again = taken(db)
    assert (again.job_id, again.tries) == (dead.job_id, 2)
    assert not callbacks.mark(db, dead, 200, None, 5), "a late sender writes nothing"
    assert callbacks.mark(db, again, 204, None, 7)
    assert outcome(db, dead.job_id) == ("sent", 204, None, 7, 2)
    assert not callbacks.mark(db, dead, 500, "late", 5)
    assert outcome(db, dead.job_id) == ("sent", 204, None, 7, 2)


def test_what_was_delivered_is_not_due_again(db: Database) -> None:
    job_id = ended(db)
    assert callbacks.mark(db, taken(db), 200, None, 87)
    shift(db, 1_000)
    assert owed(db) == []
    assert outcome(db, job_id) == ("sent", 200, None, 87, 1)


def test_what_failed_is_not_due_again_unless_it_is_said_when(db: Database) -> None:
    job_id = ended(db)
    assert callbacks.mark(db, taken(db), 500, "the receiver answered 500", 3, again_in=20)
    assert outcome(db, job_id) == ("due", 500, "the receiver answered 500", 3, 1)
    (found,) = callbacks.unsent(db, 100)
    assert 19 < found.wait <= 20
    assert take_all(db) == []
    shift(db, 20)
    assert callbacks.mark(db, taken(db), None, "timeout: no answer", 10_000)
    assert outcome(db, job_id) == ("failed", None, "timeout: no answer", 10_000, 2)
    assert owed(db) == []


def test_a_delivery_clears_the_error_of_the_try_before(db: Database) -> None:
    job_id = ended(db)
    assert callbacks.mark(db, taken(db), 500, "the receiver answered 500", 3, again_in=0)
    assert callbacks.mark(db, taken(db), 200, None, 4)
    assert outcome(db, job_id) == ("sent", 200, None, 4, 2)


@pytest.mark.parametrize("before", ["sent", "failed", None])
def test_a_resend_begins_anew(db: Database, before: str | None) -> None:
    job_id = ended(db)
    if before is None:
        change(db, job_id, callback_state=None, callback_at=None)  # it ended before there were callbacks
    else:
        assert callbacks.mark(db, taken(db), 200, None if before == "sent" else "no", 5)
    assert callbacks.resend(db, job_id)
    assert owed(db) == [job_id]
    assert taken(db).tries == 1


def test_a_resend_does_not_wait_for_the_next_try(db: Database) -> None:
    job_id = ended(db)
    assert callbacks.mark(db, taken(db), 500, "no", 5, again_in=1_000)
    assert callbacks.resend(db, job_id)
    assert taken(db).job_id == job_id


def test_a_resend_of_what_is_being_sent_changes_nothing(db: Database) -> None:
    job_id = ended(db)
    callback = taken(db)
    assert callbacks.resend(db, job_id)
    assert take_all(db) == []
    assert callbacks.mark(db, callback, 200, None, 5)


def test_there_is_nothing_to_resend_of_what_has_no_url_or_no_end(db: Database) -> None:
    assert not callbacks.resend(db, ended(db, url=None))
    assert not callbacks.resend(db, store(db, callback_url=URL))
    assert owed(db) == []


def test_the_first_due_come_first_and_no_more_than_asked_for(db: Database) -> None:
    ids = [ended(db) for _ in range(4)]
    assert [found.job_id for found in callbacks.unsent(db, 3)] == ids[:3]


def test_hosts_are_left_out_by_the_beginning_of_their_urls(db: Database) -> None:
    urls = [
        "https://a.example",
        "https://a.example/x",
        "https://a.example?y",
        "https://a.example.org/x",
        "https://a.example:81/x",
        "http://a.example/x",
        "https://A.example/x",
        "https://b.example/https://a.example/",
    ]
    for url in urls:
        ended(db, url)
    assert [found.url for found in callbacks.unsent(db, 100, ["https://a.example"])] == urls[3:]
    assert [found.url for found in callbacks.unsent(db, 100, ["https://a.example", "http://a.example"])] == [
        *urls[3:5],
        *urls[6:],
    ]


def test_percent_and_underscore_in_a_url_are_themselves(db: Database) -> None:
    ended(db, "https://a_b.example/%41")
    assert len(callbacks.unsent(db, 100, ["https://a%b.example", "https://a-b.example"])) == 1
    assert callbacks.unsent(db, 100, ["https://a_b.example"]) == []


def test_many_senders_take_each_callback_once(db: Database) -> None:
    ids = sorted(ended(db) for _ in range(12))
    won = race(*[partial(callbacks.take, db, ids, LEASE)] * 8)
    assert sorted(callback.job_id for some in won for callback in some) == ids


def test_a_taker_whose_reply_was_lost_has_what_it_took(db: Database) -> None:
    ids = sorted(ended(db) for _ in range(3))
    with failpoints.striking("callback.take.committed", "lose") as struck:
        found = callbacks.take(db, ids, LEASE)
    assert struck
    assert sorted(callback.job_id for callback in found) == ids
    assert {callback.tries for callback in found} == {1}


def test_a_sender_whose_reply_was_lost_knows_that_it_has_written(db: Database) -> None:
    job_id = ended(db)
    callback = taken(db)
    with failpoints.striking("callback.mark.committed", "lose") as struck:
        assert callbacks.mark(db, callback, 200, None, 5)
    assert struck
    assert outcome(db, job_id) == ("sent", 200, None, 5, 1)


def test_what_is_long_due_is_counted(db: Database) -> None:
    ended(db)
    assert callbacks.overdue(db, 300) == 0
    shift(db, 301)
    ended(db)
    assert callbacks.overdue(db, 300) == 1


def test_a_look_goes_by_the_index(db: Database) -> None:
    ended(db)
    said: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            said.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    callbacks.unsent(db, 100, ["https://other.example"])
    event.remove(db.engine, "before_cursor_execute", note)
    ((statement, parameters),) = said
    explain = "EXPLAIN QUERY PLAN" if db.is_sqlite else "EXPLAIN"
    with db.transaction() as connection:
        if not db.is_sqlite:  # where so few rows are, a scan is cheaper
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    assert "jobs_callbacks" in str(plan)
