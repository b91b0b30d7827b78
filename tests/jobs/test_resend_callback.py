"""Asking for a callback once more: which one is meant, and what has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs import InvalidJob, JobNotEnded, JobNotFound, Jobs, NoCallback
from celery_jobs.plugin import plugin_of
from celery_jobs.store import attempts, callbacks
from tests.store.conftest import begin, claim, complete, retry, store

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database

URL = "https://shop.example/hook"
LEASE = 30.0


@pytest.fixture
def db(app: Celery) -> Database:
    return plugin_of(app).db


@pytest.fixture
def chain(db: Database) -> list[str]:
    """The ids of a run's three attempts, of which the second was the last to end; every callback is settled."""
    first = begin(db, callback_url=URL)
    second = retry(db, first).job_id
    third = retry(db, claim(db, second)).job_id
    while found := callbacks.unsent(db, 10):
        for callback in callbacks.take(db, [found[0].job_id], LEASE):
            assert callbacks.mark(db, callback, 200, None, 5)
    return [first.id, second, third]


def due(db: Database) -> list[str]:
    return [found.job_id for found in callbacks.unsent(db, 10)]


def test_of_a_run_it_is_that_of_the_latest_end(doors: Jobs, db: Database, chain: list[str]) -> None:
    run = doors.resend_callback(chain[0])
    assert due(db) == [chain[1]]
    assert (run.id, [row.callback_state for row in run.attempts]) == (chain[0], ["sent", "due", None])


def test_an_attempt_is_named_by_its_number_or_the_id_of_a_retry(doors: Jobs, db: Database, chain: list[str]) -> None:
    doors.resend_callback(chain[0], attempt=1)
    assert due(db) == [chain[0]]
    doors.resend_callback(chain[1].upper())
    assert sorted(due(db)) == sorted(chain[:2])


def test_once_more_is_no_more(doors: Jobs, db: Database, chain: list[str]) -> None:
    doors.resend_callback(chain[0])
    doors.resend_callback(chain[0])
    assert due(db) == [chain[1]]


def test_what_is_being_sent_is_left_alone_and_the_answer_says_so(doors: Jobs, db: Database) -> None:
    job_id = complete(db, store(db, callback_url=URL))
    (taken,) = callbacks.take(db, [job_id], LEASE)
    (row,) = doors.resend_callback(job_id).attempts
    assert row.callback_state == "sending"
    assert callbacks.mark(db, taken, 200, None, 5)


def test_what_has_not_ended_has_none_yet(doors: Jobs, db: Database, chain: list[str]) -> None:
    for id, number in ((chain[2], None), (chain[0], 3)):
        with pytest.raises(JobNotEnded, match=f"attempt 3 of {chain[0]} has not ended; its callback is sent when it"):
            doors.resend_callback(id, number)
    waiting = store(db, callback_url=URL)
    with pytest.raises(JobNotEnded, match=f"the job {waiting} has not ended"):
        doors.resend_callback(waiting)
    assert due(db) == []


def test_a_number_that_no_attempt_has_is_refused(doors: Jobs, chain: list[str]) -> None:
    for number in (0, 4, -1):
        with pytest.raises(ValueError, match=f"attempt: a number from 1 to 3 is expected, not {number}"):
            doors.resend_callback(chain[0], number)


def test_a_job_without_a_url_has_none(doors: Jobs, db: Database) -> None:
    job_id = complete(db, store(db))
    with pytest.raises(NoCallback, match=f"the job {job_id} has no callback_url"):
        doors.resend_callback(job_id)
    assert due(db) == []


def test_an_unknown_id_is_an_error(doors: Jobs) -> None:
    with pytest.raises(JobNotFound):
        doors.resend_callback("0199b2f4-0000-7000-8000-000000000000")


def test_a_live_retry_that_ends_sends_its_own(doors: Jobs, db: Database, chain: list[str]) -> None:
    assert attempts.complete(db, claim(db, chain[2]), None, 5)
    assert due(db) == [chain[2]]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/hook", "the destination 127.0.0.1 is not allowed (jobs_http_allowed_addresses)"),
        ("http://[::ffff:127.0.0.1]/", "is not allowed"),
        ("http://169.254.169.254/latest", "the destination 169.254.169.254 is not allowed"),
        ("http://localhost:8000/hook", "the destination localhost is not allowed"),
        ("http://2130706433/", "is neither a name nor an IPv4 address"),
        ("https://user:secret@shop.example/", "user or password"),
        ("https://shop.example/#part", "fragment"),
    ],
)
def test_a_url_that_no_callback_may_go_to_is_refused_before_anything_is_written(
    doors: Jobs, url: str, words: str
) -> None:
    with pytest.raises(InvalidJob) as caught:
        doors.enqueue("jobs.add", args=[1], callback_url=url)
    assert caught.value.field == "callback_url"
    assert words in caught.value.problem
    assert "secret" not in str(caught.value)
    assert len(doors.list()) == 0


def test_one_bad_url_among_many_items_keeps_out_its_item_alone(doors: Jobs) -> None:
    items = [{"task": "jobs.add", "args": [1], "callback_url": url} for url in (URL, "http://10.0.0.1/")]
    good, bad = doors.enqueue_many(items)
    assert good.error is None
    assert isinstance(bad.error, InvalidJob)
    assert bad.error.field == "callback_url"
