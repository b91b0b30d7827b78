"""The same idempotency key is the same job, in whatever state."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from celery import group

from celery_jobs import DuplicateJob
from tests.lifecycle.shop import UNSERVED
from tests.lifecycle.stories import verdicts

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


def test_a_duplicate_of_a_waiting_job_is_that_job(shop: Shop, key: str) -> None:
    first = shop.enqueue("add", 1, 2, queue=UNSERVED, idempotency_key=key)
    second = shop.enqueue("add", 1, 2, queue=UNSERVED, idempotency_key=key)
    assert (first.deduplicated, first.payload_mismatch) == (False, False)
    assert (second.deduplicated, second.payload_mismatch) == (True, False)
    assert (second.id, second.job_id) == (first.id, first.job_id)
    (row,) = shop.attempts(first)
    assert (row.idempotency_key, row.send_count) == (key, 1)
    shop.jobs.cancel(first.id)


def test_a_duplicate_of_an_ended_job_gives_its_result(shop: Shop, key: str) -> None:
    first = shop.enqueue("add", 1, 2, idempotency_key=key)
    shop.ended(first)
    second = shop.enqueue("add", 1, 2, idempotency_key=key)
    assert second.deduplicated
    assert second.get(timeout=5) == 3
    assert len(shop.attempts(first)) == 1


def test_a_duplicate_with_another_payload_is_the_first_job_and_says_so(shop: Shop, key: str) -> None:
    first = shop.enqueue("add", 1, 2, idempotency_key=key)
    second = shop.enqueue("add", 5, 5, idempotency_key=key)
    assert (second.id, second.deduplicated, second.payload_mismatch) == (first.id, True, True)
    assert second.get(timeout=40) == 3


def test_a_duplicate_of_a_job_whose_retry_waits_is_that_job(shop: Shop, key: str) -> None:
    first = shop.enqueue("fails", queue="slow", idempotency_key=key)
    rows = shop.failed_once(first)
    assert [row.idempotency_key for row in rows] == [key, None]
    second = shop.enqueue("fails", queue="slow", idempotency_key=key)
    assert (second.id, second.deduplicated, second.state) == (first.id, True, "RETRY")
    shop.jobs.cancel(first.id)


def test_another_task_may_have_the_same_key(shop: Shop, key: str) -> None:
    first = shop.enqueue("add", 1, 2, idempotency_key=key)
    second = shop.enqueue("total", [1, 2, 3], idempotency_key=key)
    assert not second.deduplicated
    assert (first.get(timeout=40), second.get(timeout=40)) == (3, 6)


def test_a_member_of_a_group_is_never_silently_another_job(shop: Shop, key: str) -> None:
    first = shop.enqueue("add", 1, 2, idempotency_key=key)
    add = shop.task("add")
    with pytest.raises(DuplicateJob, match=first.job_id):
        group(add.s(1, 2).set(idempotency_key=key), add.s(3, 4)).apply_async()
    assert verdicts(shop.ended(first)) == [("completed", "success")]


def test_a_task_id_whose_chain_lives_is_the_same_job_and_begins_a_new_chain_afterwards(shop: Shop, key: str) -> None:
    first = shop.enqueue("add", 1, 2, queue=UNSERVED, task_id=key)
    second = shop.enqueue("add", 1, 2, queue=UNSERVED, task_id=key)
    assert (second.job_id, second.deduplicated) == (first.job_id, True)
    shop.jobs.cancel(key)
    third = shop.enqueue("add", 1, 2, task_id=key)
    assert third.id == key
    assert third.job_id != first.job_id
    assert not third.deduplicated
    rows = shop.ended(third)
    assert [row.id for row in rows] == [third.job_id]
    assert third.get(timeout=5) == 3
