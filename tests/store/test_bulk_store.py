"""Many jobs in one transaction: inserted, replayed, fired, deleted, purged; whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.errors import AlreadyReplayed, JobNotEnded, JobNotFound
from celery_jobs.ids import new_id
from celery_jobs.store import chains, dead_letters, endings, reads, sends
from celery_jobs.store.enqueue import enqueue, enqueue_all
from celery_jobs.store.rows import Enqueued
from celery_jobs.store.tables import jobs, messages
from tests.store.conftest import (
    FAILURE,
    begin,
    beside,
    claim,
    complete,
    count,
    dead_letter,
    new_job,
    pause,
    race,
    replay,
    retry,
    snapshot,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import NewJob

KEY: dict[str, Any] = {"idempotency_scope": "shop", "idempotency_key": "order-1"}


def test_many_are_stored_as_one_would_be(db: Database) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    variants: list[dict[str, Any]] = [
        {},
        {"delay": 30.0, "priority": 5, "tags": {"a": 1}, "callback_url": "https://x"},
        {"scheduled_at": later, "expires_at": later, "retry_policy": {"delays": [1]}, "nesting": 1},
        {"send": False, "max_attempts": 1, "retries_enabled": False, "task": None, "root_id": "r"},
    ]
    many = [new_job(**variant) for variant in variants]
    made = enqueue_all(db, many)
    singly = [enqueue(db, new_job(**variant)) for variant in variants]
    varying = {"id", "original_id", "task_id", "message_id", "created_at", "scheduled_at", "sent_at"}
    for job, one, other in zip(many, made, singly, strict=True):
        assert (one.job_id, one.task_id) == (job.id, job.task_id)
        assert (one.deduplicated, one.sent_at is None) == (other.deduplicated, other.sent_at is None)
        assert (one.due_at is None) == (other.due_at is None)
        mine, its = stored(db, one.job_id), stored(db, other.job_id)
        for name in type(mine).__slots__:
            assert name in varying or getattr(mine, name) == getattr(its, name), name
        assert mine.sent_at == one.sent_at
        assert abs((mine.scheduled_at - its.scheduled_at).total_seconds()) < 1
        assert reads.message_of(db, one.job_id) == job.message


def test_none_are_stored_for_nothing(db: Database) -> None:
    assert enqueue_all(db, []) == []


def test_more_than_a_statement_takes_are_stored_in_their_order(db: Database) -> None:
    many = [new_job(tags=[str(n)]) for n in range(1500)]
    assert [one.job_id for one in enqueue_all(db, many)] == [job.id for job in many]
    assert count(db, jobs) == count(db, messages) == 1500


def test_duplicates_among_many_are_the_first_of_them(db: Database) -> None:
    old = store(db, idempotency_scope="shop", idempotency_key="old")
    many = [
        new_job(**KEY),
        new_job(),
        new_job(**KEY, args=[2]),
        new_job(idempotency_scope="shop", idempotency_key="old"),
    ]
    first, plain, twin, found = enqueue_all(db, many)
    assert (first.deduplicated, plain.deduplicated) == (False, False)
    assert (twin.job_id, twin.deduplicated, twin.payload_mismatch) == (first.job_id, True, True)
    assert (found.job_id, found.deduplicated, found.payload_mismatch, found.sent_at) == (old, True, False, None)
    assert count(db, jobs) == count(db, messages) == 3


def test_a_task_id_that_has_ended_begins_a_new_chain_among_many(db: Database) -> None:
    complete(db, store(db, task_id="mine"))
    (made,) = enqueue_all(db, [new_job(task_id="mine")])
    assert (made.deduplicated, stored(db, made.job_id).reuse) == (False, 1)


def test_many_stored_again_after_a_lost_reply_are_what_they_were(db: Database) -> None:
    many = [new_job(), new_job(**KEY)]
    made = enqueue_all(db, many)
    again = enqueue_all(db, many)
    assert [(one.job_id, one.sent_at, one.deduplicated) for one in again] == [
        (one.job_id, one.sent_at, False) for one in made
    ]
    assert count(db, jobs) == count(db, messages) == 2


def test_a_refusal_of_one_undoes_all(db: Database) -> None:
    store(db, **KEY)
    before = snapshot(db)

    def accept(_: NewJob, enqueued: Enqueued) -> None:
        if enqueued.deduplicated:
            raise ValueError("another's")

    with pytest.raises(ValueError, match="another's"):
        enqueue_all(db, [new_job(), new_job(**KEY), new_job()], accept)
    assert snapshot(db) == before
    assert count(db, messages) == 1


def test_each_of_many_is_judged_paused_by_its_own_queue(db: Database) -> None:
    pause(db, "mail")
    made = enqueue_all(db, [new_job(queue="mail"), new_job(), new_job(delay=61.0)])
    assert [one.sent_at is None for one in made] == [True, False, True]
    assert [stored(db, one.job_id).send_count for one in made] == [0, 1, 0]


def test_racing_inserts_of_the_same_keys_make_each_once(db: Database) -> None:
    def insert() -> list[str]:
        keys = [{"idempotency_scope": "shop", "idempotency_key": f"k{n}"} for n in range(20)]
        return [one.job_id for one in enqueue_all(db, [new_job(**key) for key in keys])]

    assert len({tuple(ids) for ids in race(*[insert] * 4)}) == 1
    assert count(db, jobs) == 20


# Replays


def test_of_many_replays_each_is_begun_or_refused(db: Database) -> None:
    dead, done, waiting, twice = dead_letter(db, **KEY), complete(db, store(db)), store(db), dead_letter(db)
    replay(db, new_job(replay_of=twice))
    gone = new_id()
    new = [new_job(replay_of=id) for id in (dead, waiting, done, gone, twice)]
    outcomes = dead_letters.replay_all(db, new)
    assert [type(outcome) for outcome in outcomes] == [Enqueued, JobNotEnded, Enqueued, JobNotFound, AlreadyReplayed]
    assert [stored(db, id).replayed_as for id in (dead, done)] == [new[0].id, new[2].id]
    assert count(db, jobs) == count(db, messages) == 7
    assert isinstance(dead_letters.replay_all(db, [new_job(replay_of=twice)], force=True)[0], Enqueued)


def test_replays_take_their_keys_over(db: Database) -> None:
    dead = dead_letter(db, **KEY)
    (outcome,) = dead_letters.replay_all(db, [new_job(replay_of=dead, **KEY)])
    assert isinstance(outcome, Enqueued)
    assert not outcome.deduplicated
    assert (stored(db, dead).idempotency_key, stored(db, outcome.job_id).idempotency_key) == (None, "order-1")


def test_racing_replays_of_overlapping_sets_begin_each_once(db: Database) -> None:
    dead = [dead_letter(db) for _ in range(12)]

    def begun(ids: list[str]) -> int:
        outcomes = dead_letters.replay_all(db, [new_job(replay_of=id) for id in ids])
        return sum(isinstance(outcome, Enqueued) for outcome in outcomes)

    assert sum(race(*(partial(begun, ids) for ids in (dead, dead[::-1], dead[4:], dead[:8])))) == 12
    assert count(db, jobs) == 24


# Fire


def test_fire_makes_due_what_waits_and_sends_what_is_not_on_its_way(db: Database) -> None:
    held, sent, soon = store(db, delay=3600), store(db), store(db, delay=30)
    running, done, retried = begin(db).id, complete(db, store(db)), begin(db)
    following = retry(db, retried, delay=3600).job_id
    waited, outgoing = sends.fire(db, [held, sent, soon, running, done, retried.id, new_id()])
    assert waited == {held, sent, soon, retried.id}
    assert {out.job_id for out in outgoing} == {held, soon, following}
    assert {out.due_at for out in outgoing} == {None}
    assert stored(db, sent).send_count == 1
    assert sends.fire(db, [held, soon, retried.id]) == ({held, soon, retried.id}, [])


def test_fire_in_a_paused_queue_sends_nothing_before_its_end(db: Database) -> None:
    pause(db)
    held = store(db, delay=3600)
    assert sends.fire(db, [held]) == ({held}, [])
    assert stored(db, held).sent_at is None
    assert sends.fire(db, []) == (set(), [])


def test_racing_fires_send_each_job_once(db: Database) -> None:
    ids = [store(db, delay=3600) for _ in range(10)]
    sent = [out.job_id for _, outgoing in race(*[partial(sends.fire, db, ids)] * 4) for out in outgoing]
    assert sorted(sent) == sorted(ids)


def test_a_fired_job_can_be_claimed_at_once(db: Database) -> None:
    job_id = store(db, delay=3600)
    sends.fire(db, [job_id])
    assert claim(db, job_id).id == job_id


# Delete and purge


def test_a_delete_takes_ended_chains_outside_the_queue_with_their_messages(db: Database) -> None:
    done, off, cancelled = complete(db, store(db)), begin(db, retries_enabled=False), begin(db)
    chains.bury(db, off, FAILURE)
    retry(db, cancelled)
    endings.cancel(db, cancelled.id)
    untold = store(db)
    endings.cancel(db, untold)
    endings.mark_told(db, cancelled.id)
    kept = [store(db), begin(db).id, dead_letter(db), untold]
    ids = [done, off.id, cancelled.id, *kept, new_id()]
    assert dead_letters.delete(db, ids) == {done: 1, off.id: 1, cancelled.id: 2}
    assert count(db, jobs) == count(db, messages) == 4
    assert dead_letters.delete(db, ids) == dead_letters.delete(db, []) == {}


def test_of_racing_purges_of_overlapping_sets_each_entry_goes_once(db: Database) -> None:
    ids = [dead_letter(db) for _ in range(10)]
    gone = race(*(partial(dead_letters.purge, db, some) for some in (ids, ids[::-1], ids[3:])))
    assert sorted(id for each in gone for id in each) == sorted(ids)
    assert count(db, jobs) == count(db, messages) == 0


def test_a_cancel_of_what_waits_only_leaves_what_runs_unasked(db: Database) -> None:
    running, waiting = begin(db), store(db)
    assert endings.cancel(db, running.id, waiting_only=True) is True
    assert stored(db, running.id).cancel_requested_at is None
    assert isinstance(endings.cancel(db, waiting, waiting_only=True), endings.Ended)


def test_a_replay_beside_the_purge_of_its_entry_is_one_of_the_two(db: Database) -> None:
    dead = dead_letter(db)
    outcome = beside(
        db,
        lambda connection: connection.execute(jobs.delete().where(jobs.c.id == dead)),
        lambda: dead_letters.replay_all(db, [new_job(replay_of=dead)]),
    )
    assert [type(each) for each in outcome] == [JobNotFound]
    assert count(db, jobs) == 0
