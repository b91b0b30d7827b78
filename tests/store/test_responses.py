"""A response is written with the end of its attempt, once, by who still holds it, and goes with its chain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from celery_jobs.store import attempts, chains, dead_letters, endings, reads
from celery_jobs.store.rows import Response
from celery_jobs.store.tables import jobs, messages, responses
from tests.store.conftest import FAILURE, begin, claim, count, shift, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Claim

OK = Response(201, {"content-type": "text/plain", "x-shop": "tea"}, b"yes")
BAD = Response(503, {"x-odd": "a\x00b\ud800"}, bytes(range(256)), truncated=True)


def complete(db: Database, job: Claim, response: Response = OK) -> bool:
    return attempts.complete(db, job, None, 5, response=response)


def bury(db: Database, job: Claim, response: Response = BAD) -> chains.Ended | None:
    return chains.bury(db, job, replace(FAILURE, response=response))


def fail(db: Database, job: Claim) -> chains.Retried:
    retried = chains.retry(db, job, replace(FAILURE, response=BAD), chains.Next(by_policy=True))
    assert isinstance(retried, chains.Retried)
    return retried


def test_each_attempt_has_the_response_it_got(db: Database) -> None:
    first = begin(db)
    second = claim(db, fail(db, first).job_id)
    assert complete(db, second)
    rows = reads.attempts(db, first.id)
    assert [row.response_status for row in rows] == [503, 201]
    assert rows[1].response == OK
    assert rows[0].response == replace(BAD, headers={"x-odd": "a\ufffdb\ufffd\ufffd\ufffd"})


def test_lists_do_not_read_responses(db: Database) -> None:
    job = begin(db)
    assert complete(db, job)
    ((row,),) = reads.runs_of(db, [job.id])
    assert (row.response_status, row.response) == (201, None)


@pytest.mark.parametrize("end", [complete, bury, fail])
def test_an_end_whose_reply_was_lost_keeps_one_response(db: Database, end: Callable[..., object]) -> None:
    job = begin(db)
    assert end(db, job)
    assert end(db, job)
    assert count(db, responses) == 1


@pytest.mark.parametrize("end", [complete, bury])
def test_who_has_lost_the_attempt_leaves_no_response(db: Database, end: Callable[..., object]) -> None:
    job = begin(db)
    assert endings.lose(db, job.id, 3, lease_token=job.lease_token) is True
    assert not end(db, job)
    assert count(db, responses) == 0
    assert stored(db, job.id).response_status is None
    assert complete(db, claim(db, job.id))
    assert reads.attempts(db, job.id)[0].response == OK


def test_a_cancelled_attempt_keeps_what_it_was_answered(db: Database) -> None:
    job = begin(db)
    endings.cancel(db, job.id)
    bury(db, job)
    (row,) = reads.attempts(db, job.id)
    assert (row.status, row.response_status) == ("cancelled", 503)


def ended(db: Database, dead: bool) -> tuple[str, str]:
    """Two chains of two attempts each, ended alike."""
    ids = []
    for _ in range(2):
        first = begin(db)
        second = claim(db, fail(db, first).job_id)
        assert (bury if dead else complete)(db, second)
        ids.append(first.id)
    return ids[0], ids[1]


@pytest.mark.parametrize("dead", [True, False])
def test_responses_are_deleted_with_their_chain(db: Database, dead: bool) -> None:
    going, staying = ended(db, dead)
    remove = dead_letters.purge if dead else dead_letters.delete
    assert remove(db, [going]) == {going: 2}
    assert count(db, responses) == 2
    assert all(row.response is not None for row in reads.attempts(db, staying))


@pytest.mark.parametrize("dead", [True, False])
def test_responses_are_swept_with_their_chain(db: Database, dead: bool) -> None:
    ended(db, dead)
    shift(db, 10 * 86_400)
    sweep = dead_letters.sweep_dead_letters if dead else dead_letters.sweep_history
    assert sweep(db, None, 9, [], 10).chains == 2
    assert count(db, responses) == 0


def test_a_process_of_an_older_version_deletes_them_with_their_job(db: Database) -> None:
    job = begin(db)
    complete(db, job)
    with db.transaction() as connection:
        connection.execute(jobs.delete().where(jobs.c.id == job.id))
        connection.execute(messages.delete())
    assert count(db, responses) == 0
