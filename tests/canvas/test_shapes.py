"""Canvases of every shape: each gives what Celery gives, also where members need retries by policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

if TYPE_CHECKING:
    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")

SHAPES: dict[str, tuple[Any, Any]] = {
    "a chain": (lambda late, add, total: chain(late(1), add(2), late(), add(3)), 6),
    "a group": (lambda late, add, total: group(late(1), add(1, 1), late(3)), [1, 2, 3]),
    "a chord": (lambda late, add, total: chord([late(1), add(1, 1), late(3)], total()), 6),
    "a body that is late": (lambda late, add, total: chord([late(4)], total() | late()), 4),
    "a chain of groups": (
        lambda late, add, total: chain(group(late(1), add(2)), total(), group(late(), add(5)), total()),
        11,
    ),
    "a chain that ends in a group": (lambda late, add, total: chain(late(1), group(late(), add(5))), [1, 6]),
    "a group of chains": (lambda late, add, total: group(late(1) | add(1), add(2, 2) | late()), [2, 4]),
    "a group in a group": (lambda late, add, total: group(group(late(1), add(2)), late(3)), [1, 2, 3]),
    "a chord in a chord": (
        lambda late, add, total: chord([chord([late(1), add(2)], total()), late(3)], total()),
        6,
    ),
    "a chord as a body": (lambda late, add, total: chord([late(1)], chord([total(), total() | late()], total())), 2),
    "a chord of chains": (lambda late, add, total: chord([late(1) | add(1), add(2) | late()], total()), 4),
    "a chord in a chain": (lambda late, add, total: chain(late(1), chord([add(1), late()], total()), add(10)), 13),
}
"""Each with its value; `late(x)` fails twice and then gives x."""


@pytest.mark.parametrize("shape", SHAPES)
def test_members_that_fail_twice_give_the_canvas_its_value(shop: Shop, shape: str) -> None:
    make, value = SHAPES[shape]
    late, add, total = (shop.task(name).s for name in ("works_on_attempt", "add", "total"))
    assert shop.value(make(late, add, total).apply_async()) == value


def test_each_member_of_a_canvas_is_a_job_and_each_attempt_a_row(shop: Shop) -> None:
    late, add = shop.task("works_on_attempt"), shop.task("add")
    before = shop.jobs.count()
    result = chord([late.s(1), add.s(2)], shop.task("total").s()).apply_async()
    assert shop.value(result) == 3
    assert [run.attempt_number for run in map(shop.jobs.get, (result.id, *(m.id for m in result.parent)))] == [1, 3, 1]
    assert shop.jobs.count() - before == 3


@pytest.mark.parametrize("shape", ["map", "starmap", "chunks"])
def test_map_starmap_and_chunks_work_as_ever_and_make_no_jobs(shop: Shop, shape: str) -> None:
    """Celery runs their calls one after the other inside a task of its own."""
    add, before = shop.task("add"), shop.jobs.count()
    pairs = [(1, 2), (3, 4), (5, 6)]
    signature, value = {
        "map": (add.map([1, 2]), [1, 2]),
        "starmap": (add.starmap(pairs), [3, 7, 11]),
        "chunks": (add.chunks(pairs, 2), [[3, 7], [11]]),
    }[shape]
    assert shop.value(signature.apply_async()) == value
    assert shop.jobs.count() == before
