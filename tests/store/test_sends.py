from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from celery_jobs.ids import new_id
from celery_jobs.store import endings, sends
from celery_jobs.store.db import now
from celery_jobs.store.enqueue import enqueue
from celery_jobs.store.sends import mark_unsent, take_due, take_now, take_overdue
from celery_jobs.store.tables import jobs
from tests.store.conftest import (
    QUEUE,
    begin,
    change,
    complete,
    new_job,
    new_message,
    pause,
    race,
    resume,
    retry,
    shift,
    snapshot,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Outgoing

AFTER, MAX_SENDS = 120, 20


def _ids(taken: list[Outgoing]) -> list[str]:
    return [job.job_id for job in taken]


def _due(db: Database, ahead: float = 75, limit: int = 1000, queue: str = QUEUE) -> list[str]:
    return _ids(take_due(db, queue, ahead, limit))


def _overdue(db: Database, limit: int = 1000, max_sends: int = MAX_SENDS, queue: str = QUEUE) -> list[str]:
    return _ids(take_overdue(db, queue, AFTER, max_sends, limit))


def _set_due_in(db: Database, *seconds: float) -> list[str]:
    return [store(db, delay=delay, send=False) for delay in seconds]


def test_what_is_due_is_given_in_order_of_its_time(db: Database) -> None:
    late, soon, middle = _set_due_in(db, 30, 10, 20)
    assert _due(db) == [soon, middle, late]


def test_at_most_the_limit_is_given_the_first_due_first(db: Database) -> None:
    with db.transaction() as connection:
        connection.exec_driver_sql("DROP INDEX jobs_to_send")  # whose order must not be relied upon
    third, first, second = _set_due_in(db, 30, 10, 20)
    assert _due(db, limit=2) == [first, second]
    assert _due(db, limit=2) == [third]
    assert _due(db, limit=2) == []


def test_what_is_due_goes_by_priority_and_what_is_not_yet_by_its_time(db: Database) -> None:
    low, high, old = [store(db, send=False, delay=1, priority=priority) for priority in (0, 7, 0)]
    shift(db, 5)
    coming = [
        store(db, send=False, delay=delay, priority=priority) for delay, priority in ((30, 0), (60, 9), (3600, 9))
    ]
    assert _due(db, limit=2) == [high, low]
    assert _due(db, limit=2) == [old, coming[0]]
    assert _due(db) == [coming[1]]


def test_what_is_given_is_marked_as_sent_and_carries_its_message_and_time(db: Database) -> None:
    message = new_message(body=b'[["x"], {}, {}]')
    job_id = store(db, delay=70, message=message, priority=7, task_id="order-7")
    (job,) = take_due(db, QUEUE, 75, 10)
    row = stored(db, job_id)
    assert (job.job_id, job.task_id, job.queue, job.priority, job.message) == (job_id, "order-7", QUEUE, 7, message)
    assert job.due_at == row.scheduled_at
    assert (row.sent_at, row.send_count) == (job.sent_at, 1)


def test_only_what_falls_due_within_the_look_ahead_is_given(db: Database) -> None:
    within, _ = _set_due_in(db, 70, 80)
    assert _due(db, ahead=75) == [within]


def test_other_queues_keep_theirs(db: Database) -> None:
    store(db, queue="mail", send=False)
    assert _due(db) == []
    assert sends.unsent_queues(db, 75) == ["mail"]


def test_only_queues_with_something_to_send_soon_are_looked_at(db: Database) -> None:
    """Whatever its priority is, and however much of a higher one is held for later."""
    held = [("a", 9, 500), ("a", 0, 70), ("b", 0, 80), ("c", 3, 500), ("c", 0, 10), ("d", 9, 1)]
    for queue, priority, due_in in held:
        change(db, store(db, queue=queue, priority=priority, send=False), scheduled_at=now(due_in))
    pause(db, "d")
    assert sorted(sends.unsent_queues(db, 75)) == ["a", "c"]
    assert sends.unsent_queues(db, 15) == ["c"]
    assert sends.unsent_queues(db, 0) == []


def test_a_paused_queue_gives_nothing_and_loses_nothing(db: Database) -> None:
    job_id = store(db, send=False)
    sent = store(db)
    pause(db)
    shift(db, 3600)
    assert _due(db) == _overdue(db) == _ids(take_now(db, [job_id])) == []
    resume(db)
    assert _due(db) == [job_id]
    assert _overdue(db) == [sent]


def test_an_expired_job_is_not_sent(db: Database) -> None:
    held, sent = store(db, send=False), store(db)
    for job_id in (held, sent):
        change(db, job_id, expires_at=now(30))
    shift(db, 3600)
    assert _due(db) == _overdue(db) == _ids(take_now(db, [held])) == []
    assert sorted(sends.expired(db, 10)) == sorted([held, sent])
    assert len(sends.expired(db, 1)) == 1


def test_what_runs_or_has_ended_is_never_sent(db: Database) -> None:
    running = begin(db, send=False).id
    done = complete(db, store(db, send=False))
    cancelled = store(db, send=False)
    endings.cancel(db, cancelled)
    shift(db, 3600)
    before = snapshot(db)
    assert _due(db) == _overdue(db) == _ids(take_now(db, [running, done, cancelled])) == []
    assert snapshot(db) == before


def test_a_retry_is_sent_when_it_falls_due(db: Database) -> None:
    following = retry(db, begin(db), delay=1800)
    assert _due(db) == []
    shift(db, 1750)
    (job,) = take_due(db, QUEUE, 75, 10)
    assert (job.job_id, job.retries) == (following.job_id, 1)


def test_concurrent_takes_share_the_work(db: Database) -> None:
    stored_ids = [store(db, send=False) for _ in range(24)]
    taken = race(*[partial(_due, db, limit=6)] * 4)
    while more := _due(db):
        taken.append(more)
    assert sorted(id for ids in taken for id in ids) == sorted(stored_ids)
    assert {stored(db, job_id).send_count for job_id in stored_ids} == {1}


def test_a_take_leaves_out_what_another_one_holds(db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite has one writer at a time and no row locks")
    first, second, third, fourth = _set_due_in(db, 1, 2, 3, 4)
    with db.transaction() as connection:
        query = select(jobs.c.id).where(jobs.c.id.in_([first, second])).with_for_update()
        assert len(connection.execute(query).all()) == 2
        assert _due(db, limit=10) == [third, fourth]
    assert _due(db, limit=10) == [first, second]


def test_jobs_are_taken_by_their_ids_once(db: Database) -> None:
    far, near, other = store(db, delay=3600), store(db, send=False), store(db, send=False)
    assert _ids(take_now(db, [far, near, new_id()])) == [near, far]
    assert _ids(take_now(db, [far, near])) == []
    assert stored(db, other).sent_at is None


def test_what_is_marked_as_sent_is_fetched_as_it_is(db: Database) -> None:
    job_id, held = store(db), store(db, delay=3600)
    before = snapshot(db)
    (job,) = sends.fetch(db, [job_id, held])
    assert (job.job_id, job.sent_at) == (job_id, stored(db, job_id).sent_at)
    assert snapshot(db) == before


def test_what_nobody_claims_is_sent_again_after_waits_that_double_to_fifteen_minutes(db: Database) -> None:
    job_id = store(db)
    for sent, wait in enumerate((120, 240, 480, 900, 900, 900), start=1):
        assert stored(db, job_id).send_count == sent
        shift(db, wait - 20)
        assert _overdue(db) == []
        shift(db, 20)
        assert _overdue(db) == [job_id]


def test_a_job_is_sent_at_most_so_often(db: Database) -> None:
    job_id = store(db)
    for _ in range(2):
        shift(db, 901)
        assert _overdue(db, max_sends=3) == [job_id]
    shift(db, 86_400)
    assert _overdue(db, max_sends=3) == []
    assert stored(db, job_id).send_count == 3


def test_the_wait_counts_from_the_later_of_sending_and_due_time(db: Database) -> None:
    job_id = store(db, delay=60)
    shift(db, 170)
    assert _overdue(db) == []
    assert sends.overdue_queues(db, AFTER) == []
    shift(db, 11)
    assert sends.overdue_queues(db, AFTER) == [QUEUE]
    assert _overdue(db) == [job_id]


def test_the_oldest_overdue_jobs_are_sent_again_first(db: Database) -> None:
    oldest, older, _ = [store(db) for _ in range(3)]
    shift(db, 121)
    assert sorted(_overdue(db, limit=2)) == sorted([oldest, older])


@pytest.mark.parametrize(("sends_made", "wait"), [(1, 30), (2, 60), (3, 120), (5, 480), (6, 900), (20, 900)])
def test_the_wait_doubles_with_each_send_up_to_fifteen_minutes(db: Database, sends_made: int, wait: int) -> None:
    job_id = store(db)
    change(db, job_id, send_count=sends_made)
    shift(db, wait - 20)
    assert take_overdue(db, QUEUE, 30, 99, 10) == []
    shift(db, 21)
    assert [job.job_id for job in take_overdue(db, QUEUE, 30, 99, 10)] == [job_id]


def test_held_jobs_are_not_overdue(db: Database) -> None:
    store(db, send=False)
    shift(db, 86_400)
    assert _overdue(db) == []


def test_a_send_that_failed_is_taken_back_only_by_its_own_stamp(db: Database) -> None:
    enqueued = enqueue(db, new_job())
    assert enqueued.sent_at is not None
    shift(db, 121)
    (again,) = take_overdue(db, QUEUE, AFTER, MAX_SENDS, 10)
    mark_unsent(db, [(again.job_id, enqueued.sent_at)])
    assert stored(db, again.job_id).sent_at == again.sent_at
    mark_unsent(db, [(again.job_id, again.sent_at)])
    assert stored(db, again.job_id).sent_at is None


def test_a_send_that_failed_is_not_taken_back_from_a_job_that_runs(db: Database) -> None:
    job = begin(db)
    sent_at = stored(db, job.id).sent_at
    assert sent_at is not None
    mark_unsent(db, [(job.id, sent_at)])
    assert not sends.hold(db, job.id)
    assert stored(db, job.id).sent_at == sent_at


def test_sends_that_failed_do_not_use_up_the_sends_of_a_job(db: Database) -> None:
    job_id = store(db, send=False)
    for _ in range(MAX_SENDS):
        (job,) = take_due(db, QUEUE, 0, 10)
        mark_unsent(db, [(job_id, job.sent_at)])
    assert _due(db) == [job_id]
    shift(db, 901)
    assert _overdue(db) == [job_id]


def test_a_held_job_is_sent_by_the_promoter(db: Database) -> None:
    job_id = store(db)
    assert _due(db) == []
    assert sends.hold(db, job_id)
    assert _due(db) == [job_id]
    assert not sends.hold(db, new_id())


def test_rows_that_wait_in_the_broker_are_those_due_pending_and_sent(db: Database) -> None:
    store(db)
    store(db)
    store(db, delay=50)
    store(db, send=False)
    store(db, queue="mail")
    begin(db)
    assert sends.waiting_sent(db, QUEUE, 10) == 2
