"""A queue's rate: in no window of its length start more than it says, and none is sent in vain over and over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from celery_jobs.rates import Rate, parse_rate
from celery_jobs.services import make_service
from tests.limits.conftest import ON_SQLITE, busiest, overlap, rest

if TYPE_CHECKING:
    from tests.limits.conftest import Floor

CLAIMERS, STARTS, A_SECOND = 4, 17, 5


def test_rates_are_read() -> None:
    assert parse_rate("5/s") == Rate(5, 1)
    assert parse_rate("100/m") == Rate(100, 60)
    assert parse_rate("1000/h") == Rate(1000, 3600)
    for wrong in ("abc", "5", "5/d", "0/s", "-1/s", "1.5/s", "5 / s", "", 5, None, "\u0665/s"):
        assert parse_rate(wrong) is None


def test_no_window_holds_more_starts_than_the_rate_says(floor: Floor) -> None:
    ids = floor.enqueue(STARTS, queue="slow")
    began = time.monotonic()
    floor.crowd(CLAIMERS, len(ids), ["slow"], rest)
    took = time.monotonic() - began
    rows = [floor.job(job_id) for job_id in ids]
    assert busiest(rows, 1.0) <= A_SECOND
    assert {(row.status, row.attempt_number, row.losses) for row in rows} == {("completed", 1, 0)}
    slowest = (STARTS - 1) // A_SECOND  # seconds that the rate itself takes
    assert slowest <= took < 2 * slowest + 5
    assert floor.taken <= 4 * len(ids)


def test_both_limits_of_a_queue_hold_at_once(floor: Floor) -> None:
    ids = floor.enqueue(25, queue="both")
    floor.crowd(8, len(ids), ["both"], lambda: rest(0.02))
    rows = [floor.job(job_id) for job_id in ids]
    assert overlap(rows) <= 2
    assert busiest(rows, 1.0) <= 20


def test_the_first_of_the_waiting_is_sent_for_the_moment_at_which_it_may_start(floor: Floor) -> None:
    started = [floor.start(job_id) for job_id in floor.enqueue(A_SECOND, queue="slow")]
    first, second = floor.enqueue(2, queue="slow")
    floor.messages("slow")
    floor.refuse(first)
    job = floor.job(first)
    opens = started[0].started_at + timedelta(seconds=1)
    assert job.waits_for == "rate:slow"
    assert job.sent_at is not None
    assert abs((job.sent_at - opens).total_seconds()) < 0.05
    floor.refuse(second)
    assert floor.messages("slow") == [first]  # one is on its way, and no more
    time.sleep(max(0.0, (opens - datetime.now(UTC)).total_seconds()))
    floor.finish(floor.start(first))


def test_who_comes_a_little_early_waits_where_it_is(floor: Floor) -> None:
    for job_id in floor.enqueue(2, queue="hourly"):
        floor.start(job_id)
    (first,) = floor.enqueue(queue="hourly")
    floor.refuse(first)
    floor.later(3598.2)
    assert make_service(floor.plugin, "promoter").run_once() == 1
    answer = floor.claim(first)
    assert getattr(answer, "reason", None) == "early"
    assert 0 < getattr(answer, "wait", 0) <= 1.8
    claimed = floor._claim_in_time(first)
    assert claimed is not None
    rows = [floor.job(job_id) for job_id in (first,)]
    assert rows[0].send_count == 1


@ON_SQLITE
def test_what_may_start_in_an_hour_only_stays_in_sql_until_then(floor: Floor) -> None:
    for job_id in floor.enqueue(2, queue="hourly"):
        floor.finish(floor.start(job_id))
    (waiting,) = floor.enqueue(queue="hourly")
    floor.messages("hourly")
    floor.refuse(waiting)
    promoter = make_service(floor.plugin, "promoter")
    assert promoter.run_once() == 0
    assert floor.messages("hourly") == []
    floor.later(3590)
    assert promoter.run_once() == 1
    assert floor.messages("hourly") == [waiting]
    assert floor.job(waiting).waits_for == "rate:hourly"
    floor.later(20)
    floor.finish(floor.start(waiting))
    # What the window has left behind is forgotten.
    with floor.plugin.db.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM starts").scalar_one() == 1


@ON_SQLITE
@pytest.mark.parametrize("ahead", [10])
def test_of_those_that_wait_for_a_rate_the_first_by_priority_starts(floor: Floor, ahead: int) -> None:
    for job_id in floor.enqueue(2, queue="hourly"):
        floor.finish(floor.start(job_id))
    low, high = floor.enqueue(queue="hourly")[0], floor.enqueue(queue="hourly", job_priority=5)[0]
    for job_id in (low, high):
        floor.refuse(job_id)
    floor.messages("hourly")
    floor.later(3600 - ahead)
    make_service(floor.plugin, "promoter").run_once()
    assert floor.messages("hourly") == [high]
