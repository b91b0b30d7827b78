"""An idempotency key inside a canvas: a member is never silently another job."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from celery_jobs import DuplicateJob
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


AT_ONCE: dict[str, Any] = {
    "the first step of a chain": lambda keyed, add, total: chain(keyed, add),
    "a member of a group": lambda keyed, add, total: group(add, keyed),
    "a member of a chord": lambda keyed, add, total: chord([add, keyed], total),
    "a chain in a group": lambda keyed, add, total: group(add, keyed | add),
}


@pytest.mark.parametrize("place", AT_ONCE)
def test_a_duplicate_that_is_published_with_its_canvas_is_refused_to_the_caller(
    shop: Shop, key: str, place: str
) -> None:
    add = shop.task("add")
    first = add.apply_async((1,), idempotency_key=key)
    with pytest.raises(DuplicateJob, match=f"'{key}' belongs to the job {first.job_id}"):
        AT_ONCE[place](add.s(1).set(idempotency_key=key), add.s(1), shop.task("total").s()).apply_async()
    shop.settle()


LATER: dict[str, Any] = {
    "a later step of a chain": lambda keyed, add: chain(add, keyed, add),
    "the last step of a chain": lambda keyed, add: chain(add, keyed),
    "the body of a chord": lambda keyed, add: chord([add, add], keyed),
    "a link": lambda keyed, add: add.set(link=keyed),
}


@pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
@pytest.mark.parametrize("place", LATER)
def test_a_duplicate_that_a_worker_publishes_fails_the_canvas_and_says_why(shop: Shop, key: str, place: str) -> None:
    note = shop.task("note")
    first = note.apply_async(("first",), idempotency_key=key)
    shop.ended(first)
    canvas = LATER[place](note.s().set(idempotency_key=key), shop.task("add").s(1))
    assert f"'{key}' belongs to the job {first.job_id}" in shop.error(canvas.apply_async())
    assert shop.settle() == ["first"]


def test_keys_of_their_own_are_kept_by_members_over_their_retries(shop: Shop, key: str) -> None:
    late = shop.task("works_on_attempt")
    header = [late.s(n).set(idempotency_key=f"{key}-{n}") for n in (1, 2)]
    result = chord(header, shop.task("total").s().set(idempotency_key=key)).apply_async()
    assert shop.value(result) == 3
    for n, member in enumerate(result.parent.results, 1):
        assert [row.idempotency_key for row in shop.ended(member)] == [f"{key}-{n}", None, None]
        again = late.apply_async((n,), idempotency_key=f"{key}-{n}")
        assert (again.id, again.deduplicated) == (member.id, True)


def test_a_duplicate_is_refused_while_a_retry_of_the_first_waits(shop: Shop, key: str) -> None:
    first = shop.task("fails").apply_async(idempotency_key=key, retry_delays=[3600])
    wait_until(lambda: shop.jobs.get(first.id).has_pending_retry)
    with pytest.raises(DuplicateJob, match=first.job_id):
        group(shop.task("fails").s().set(idempotency_key=key), shop.task("add").s(1)).apply_async()
    shop.jobs.cancel(first.id)
    shop.settle()
