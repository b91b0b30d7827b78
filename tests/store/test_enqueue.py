from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from celery_jobs.ids import new_id
from celery_jobs.store import chains, dead_letters, endings, keys, reads
from celery_jobs.store.enqueue import enqueue, enqueue_all, insert_job
from celery_jobs.store.tables import jobs, messages
from tests.store.conftest import (
    FAILURE,
    RACERS,
    begin,
    claim,
    complete,
    count,
    dead_letter,
    new_job,
    new_message,
    pause,
    race,
    replay,
    resume,
    retry,
    shift,
    snapshot,
    store,
    stored,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

KEY = {"idempotency_scope": "shop.charge", "idempotency_key": "order-1"}


def test_an_enqueue_stores_attempt_one_of_a_new_chain(db: Database) -> None:
    new = new_job(tags={"team": "shop"}, priority=5, max_attempts=3, callback_url="https://example.com/hook")
    enqueued = enqueue(db, new)
    assert (enqueued.job_id, enqueued.task_id) == (new.id, new.task_id)
    assert not enqueued.deduplicated
    job = stored(db, new.id)
    assert (job.original_id, job.attempt_number, job.is_retry, job.max_attempts) == (new.id, 1, False, 3)
    assert (job.status, job.final_status, job.sent_at, job.send_count) == ("pending", None, enqueued.sent_at, 1)
    assert (job.tags, job.priority, job.callback_url) == ({"team": "shop"}, 5, "https://example.com/hook")
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(seconds=10)


def test_the_message_is_kept_as_it_was_captured(db: Database) -> None:
    message = new_message(body=bytes(range(256)), compression="zlib", delivery_mode=2, headers='{"lang": "py"}')
    assert reads.message_of(db, store(db, message=message)) == message


def test_an_enqueue_in_a_transaction_that_rolls_back_leaves_nothing(db: Database) -> None:
    def fail(connection: Connection) -> None:
        insert_job(db, new_job(), connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.run(fail)
    assert count(db, jobs) == count(db, messages) == 0


@pytest.mark.parametrize("key", [{}, KEY], ids=["without a key", "with a key"])
def test_an_enqueue_whose_reply_was_lost_finds_its_own_job(db: Database, key: dict[str, str]) -> None:
    new = new_job(**key)
    first, again = enqueue(db, new), enqueue(db, new)
    assert (again.job_id, again.task_id, again.sent_at) == (first.job_id, first.task_id, first.sent_at)
    assert not again.deduplicated
    assert not again.payload_mismatch
    assert count(db, jobs) == count(db, messages) == 1


def test_of_sixteen_racing_enqueues_of_one_key_one_makes_the_job(db: Database) -> None:
    found = race(*[partial(enqueue, db, new_job(**KEY)) for _ in range(RACERS)])
    assert len({one.job_id for one in found}) == 1
    assert len({one.task_id for one in found}) == 1
    assert [one.deduplicated for one in found].count(False) == 1
    assert count(db, jobs) == count(db, messages) == 1


def test_the_same_key_in_another_scope_is_another_job(db: Database) -> None:
    other = {**KEY, "idempotency_scope": "shop.refund"}
    first, second = store(db, **KEY), store(db, **other)
    assert enqueue(db, new_job(**KEY)).job_id == first
    assert enqueue(db, new_job(**other)).job_id == second


@pytest.mark.parametrize("mismatch", [False, True])
def test_a_duplicate_tells_whether_its_payload_differs(db: Database, mismatch: bool) -> None:
    first = store(db, **KEY, args=[1])
    found = enqueue(db, new_job(**KEY, args=[2 if mismatch else 1]))
    assert (found.job_id, found.deduplicated, found.payload_mismatch) == (first, True, mismatch)
    assert found.sent_at is None


def test_a_key_finds_its_job_in_whatever_state(db: Database) -> None:
    job_id = store(db, **KEY)
    job = claim(db, job_id)
    assert enqueue(db, new_job(**KEY)).job_id == job_id
    following = retry(db, job)
    assert enqueue(db, new_job(**KEY)).job_id == job_id
    complete(db, following.job_id)
    assert enqueue(db, new_job(**KEY)).job_id == job_id


def _key(name: str) -> dict[str, Any]:
    return {"idempotency_scope": "shop.charge", "idempotency_key": name}


def _an_owner_in_each_state(db: Database) -> dict[str, str]:
    """Originals by the keys that they own, which have the names of their states."""
    retrying, saved = begin(db, **_key("retrying")), begin(db, **_key("saved"))
    off = begin(db, retries_enabled=False, **_key("failed_no_retries"))
    retry(db, retrying)
    complete(db, retry(db, saved).job_id)
    chains.bury(db, off, FAILURE)
    cancelled = store(db, **_key("cancelled"))
    endings.cancel(db, cancelled)
    replayed = dead_letter(db, **_key("replayed"))
    return {
        "pending": store(db, **_key("pending")),
        "held": store(db, delay=3600, **_key("held")),
        "processing": begin(db, **_key("processing")).id,
        "retrying": retrying.id,
        "success": complete(db, store(db, **_key("success"))),
        "saved": saved.id,
        "dead_lettered": dead_letter(db, **_key("dead_lettered")),
        "failed_no_retries": off.id,
        "cancelled": cancelled,
        "replayed": replay(db, new_job(replay_of=replayed, **_key("replayed"))).job_id,
    }


def test_a_key_gives_its_owner_in_each_state_alone_and_among_many(db: Database) -> None:
    owners = _an_owner_in_each_state(db)
    before = snapshot(db)
    same, other = ([new_job(**_key(name), args=args) for name in owners] for args in ([1], [2]))
    for found in ([enqueue(db, job) for job in same], enqueue_all(db, same)):
        assert [one.job_id for one in found] == list(owners.values())
        assert {(one.deduplicated, one.payload_mismatch) for one in found} == {(True, False)}
    for found in ([enqueue(db, job) for job in other], enqueue_all(db, other)):
        assert [one.job_id for one in found] == list(owners.values())
        assert {(one.deduplicated, one.payload_mismatch) for one in found} == {(True, True)}
    assert snapshot(db) == before


# Releasing a key by hand


def test_a_released_key_is_free_in_each_state_and_its_owner_keeps_all_else(db: Database) -> None:
    owners = _an_owner_in_each_state(db)
    before = {id: stored(db, id) for id in owners.values()}
    for name, id in owners.items():
        assert keys.release(db, name, "shop.charge") == id
        assert stored(db, id) == replace(before[id], idempotency_key=None), name
        made = enqueue(db, new_job(**_key(name)))
        assert not made.deduplicated
        assert enqueue(db, new_job(**_key(name))).job_id == made.job_id
    assert {enqueue(db, new_job(**_key(name))).deduplicated for name in owners} == {True}


def test_a_key_that_nobody_has_is_not_released(db: Database) -> None:
    store(db, **KEY)
    before = snapshot(db)
    for key, scope in (("order-2", "shop.charge"), ("order-1", "shop.refund"), ("order-1", ""), ("a\x00", "\ud800")):
        assert keys.release(db, key, scope) is None
    assert snapshot(db) == before
    assert keys.release(db, "order-1", "shop.charge") is not None
    assert keys.release(db, "order-1", "shop.charge") is None


def test_a_key_that_is_released_while_others_enqueue_it_has_one_owner(db: Database) -> None:
    """Each that is released was somebody's, and nobody is given a job that is not there."""

    def use(number: int) -> str | None:
        if number % 4 == 0:
            return keys.release(db, "order-1", "shop.charge")
        return enqueue(db, new_job(**KEY)).job_id

    found = race(*[partial(use, number) for number in range(RACERS)])
    with db.reading() as connection:
        made = set(connection.execute(select(jobs.c.id)).scalars())
        owners = connection.execute(select(jobs.c.id).where(jobs.c.idempotency_key == "order-1")).scalars().all()
    assert set(found) - {None} <= made
    assert len(made) == len(set(found[::4]) - {None}) + len(owners)
    assert len(owners) <= 1


def test_a_key_is_free_again_when_its_chain_is_deleted(db: Database) -> None:
    original = dead_letter(db, **KEY)
    dead_letters.purge(db, [original])
    assert not enqueue(db, new_job(**KEY)).deduplicated


def test_a_task_id_whose_chain_lives_is_the_same_job(db: Database) -> None:
    job = begin(db, task_id="order-7")
    assert enqueue(db, new_job(task_id="order-7")).job_id == job.id
    retry(db, job)
    found = enqueue(db, new_job(task_id="order-7"))
    assert (found.job_id, found.task_id, found.deduplicated) == (job.id, "order-7", True)
    assert count(db, messages) == 1


def test_a_task_id_whose_chain_has_ended_begins_a_new_chain(db: Database) -> None:
    ids = []
    for reuse in range(3):
        ids.append(complete(db, store(db, task_id="order-7")))
        assert stored(db, ids[-1]).reuse == reuse
    assert len(set(ids)) == 3


def test_a_free_key_on_a_used_task_id_begins_a_new_chain(db: Database) -> None:
    complete(db, store(db, task_id="order-7"))
    assert stored(db, store(db, task_id="order-7", **KEY)).reuse == 1


def test_of_sixteen_racing_enqueues_of_one_used_task_id_one_begins_a_chain(db: Database) -> None:
    complete(db, store(db, task_id="order-7"))
    found = race(*[partial(enqueue, db, new_job(task_id="order-7")) for _ in range(RACERS)])
    assert len({one.job_id for one in found}) == 1
    assert [one.deduplicated for one in found].count(False) == 1
    assert count(db, jobs) == 2


@pytest.mark.parametrize("task_id", ["step-2", "root-1"], ids=["a step", "the replacement of the root"])
def test_what_a_re_run_of_its_parent_publishes_again_is_the_same_job_in_any_state(db: Database, task_id: str) -> None:
    step: dict[str, Any] = {"task_id": task_id, "root_id": "root-1", "nesting": 1, "is_step": True}
    step["publisher"] = store(db, task_id="root-1", root_id="root-1")
    job_id = store(db, **step)
    assert enqueue(db, new_job(**step)).job_id == job_id
    complete(db, job_id)
    found = enqueue(db, new_job(**step))
    assert (found.job_id, found.deduplicated) == (job_id, True)


def test_what_a_frozen_canvas_publishes_when_it_is_applied_again_begins_a_new_chain(db: Database) -> None:
    step: dict[str, Any] = {"task_id": "step-2", "root_id": "root-1", "is_step": True}
    complete(db, store(db, publisher=store(db, task_id="step-1"), **step))
    assert not enqueue(db, new_job(publisher=store(db, task_id="step-1b"), **step)).deduplicated


def test_an_ended_step_that_a_caller_publishes_begins_a_new_chain(db: Database) -> None:
    step = {"task_id": "step-2", "root_id": "root-1"}
    complete(db, store(db, is_step=True, **step))
    assert not enqueue(db, new_job(**step)).deduplicated


def test_a_step_that_a_task_which_is_no_job_publishes_again_is_the_same_job_in_any_state(db: Database) -> None:
    step: dict[str, Any] = {"task_id": "step-2", "root_id": "root-1", "is_step": True}
    job_id = store(db, **step)
    assert enqueue(db, new_job(**step)).job_id == job_id
    complete(db, job_id)
    found = enqueue(db, new_job(**step))
    assert (found.job_id, found.deduplicated) == (job_id, True)


@pytest.mark.parametrize("root_id", ["root-2", "step-2", None], ids=["another root", "itself the root", "no root"])
def test_an_ended_step_under_another_root_begins_a_new_chain(db: Database, root_id: str | None) -> None:
    complete(db, store(db, task_id="step-2", root_id="step-2" if root_id == "step-2" else "root-1"))
    assert not enqueue(db, new_job(task_id="step-2", root_id=root_id, is_step=True)).deduplicated


def test_a_replacement_lives_beside_the_task_that_it_replaces(db: Database) -> None:
    replaced = begin(db, task_id="order-7").id
    replacement = store(db, task_id="order-7", nesting=1)
    assert enqueue(db, new_job(task_id="order-7")).job_id == replaced
    assert enqueue(db, new_job(task_id="order-7", nesting=1)).job_id == replacement


def test_an_adopted_message_that_comes_again_is_the_same_job_in_any_state(db: Database) -> None:
    job_id = store(db, task_id="foreign", adopted=True)
    assert enqueue(db, new_job(task_id="foreign", adopted=True)).job_id == job_id
    complete(db, job_id)
    assert enqueue(db, new_job(task_id="foreign", adopted=True)).job_id == job_id


@pytest.mark.parametrize(
    ("delay", "sent"), [(None, True), (0, True), (59.9, True), (60, True), (60.5, False), (3600, False)]
)
def test_what_is_due_within_sixty_seconds_is_sent_at_once(db: Database, delay: float | None, sent: bool) -> None:
    enqueued = enqueue(db, new_job(delay=delay))
    job = stored(db, enqueued.job_id)
    assert (enqueued.sent_at is not None) == sent
    assert (job.sent_at, job.send_count) == (enqueued.sent_at, int(sent))
    assert enqueued.due_at == (job.scheduled_at if delay else None)
    assert abs((job.scheduled_at - job.created_at).total_seconds() - (delay or 0)) < 0.1


@pytest.mark.parametrize(("seconds", "sent"), [(-3600, True), (50, True), (70, False)])
def test_a_moment_follows_the_same_rule_as_a_delay(db: Database, seconds: int, sent: bool) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    enqueued = enqueue(db, new_job(scheduled_at=moment))
    assert (enqueued.sent_at is not None) == sent
    assert enqueued.due_at == (moment if seconds > 0 else None)
    job = stored(db, enqueued.job_id)
    if seconds > 0:
        assert job.scheduled_at == moment
    else:  # past is now
        assert timedelta() <= job.scheduled_at - job.created_at < timedelta(seconds=1)


def test_a_job_of_a_paused_queue_is_held_and_of_others_not(db: Database) -> None:
    pause(db, "shop")
    assert enqueue(db, new_job(queue="shop")).sent_at is None
    assert enqueue(db, new_job(queue="mail")).sent_at is not None
    resume(db, "shop")
    assert enqueue(db, new_job(queue="shop")).sent_at is not None


def test_a_pause_ends_by_itself(db: Database) -> None:
    pause(db, "shop", seconds=30)
    assert enqueue(db, new_job(queue="shop")).sent_at is None
    shift(db, 31)
    assert enqueue(db, new_job(queue="shop")).sent_at is not None


def test_a_job_that_is_not_to_be_sent_is_held(db: Database) -> None:
    enqueued = enqueue(db, new_job(send=False))
    assert enqueued.sent_at is None
    assert stored(db, enqueued.job_id).send_count == 0


def test_a_cancelled_chain_frees_its_task_id(db: Database) -> None:
    job_id = store(db, task_id="order-7")
    endings.cancel(db, job_id)
    assert not enqueue(db, new_job(task_id="order-7")).deduplicated


def test_a_dead_letter_frees_its_task_id(db: Database) -> None:
    job = begin(db, task_id="order-7")
    chains.bury(db, job, FAILURE)
    assert not enqueue(db, new_job(task_id="order-7")).deduplicated


def test_the_database_decides_where_a_producers_id_is_taken_by_another_job(db: Database) -> None:
    taken = new_id()
    store(db, id=taken, task_id="first")
    with pytest.raises(RuntimeError, match=taken):
        enqueue(db, new_job(id=taken, task_id="second"))
    with db.reading() as connection:
        assert connection.execute(select(jobs.c.task_id)).scalars().all() == ["first"]
