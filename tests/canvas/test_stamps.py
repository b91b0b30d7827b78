"""Stamps arrive on every step, in every attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.canvas import StampingVisitor

if TYPE_CHECKING:
    from celery.canvas import Signature

    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")

STAMPED = "{'customer': 'c-7'}"


class Customer(StampingVisitor):  # type: ignore[misc]
    """Says of each step whose it is."""

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return {"customer": "c-7", "stamped_headers": ["customer"]}


CANVASES: dict[str, tuple[Any, int]] = {
    "a task": (lambda steps: steps(attempt=3), 3),
    "a chain": (lambda steps: chain(steps(attempt=3), steps(attempt=2)), 5),
    "a group": (lambda steps: group(steps(attempt=2), steps()), 3),
    "a chord": (lambda steps: chord([steps(attempt=3), steps()], steps(attempt=2)), 6),
    "a chord in a chain": (lambda steps: chain(steps(), chord([steps(attempt=2), steps()], steps()), steps()), 6),
    "a link": (lambda steps: steps(attempt=2).set(link=steps(attempt=2)), 4),
}
"""Each with the number of attempts that its steps need in all."""


@pytest.mark.parametrize("canvas", CANVASES)
def test_each_attempt_of_each_step_is_stamped(shop: Shop, canvas: str) -> None:
    make, attempts = CANVASES[canvas]
    signature = make(shop.task("stamps").s)
    signature.stamp(visitor=Customer())
    signature.apply_async()
    assert shop.settle() == [STAMPED] * attempts


def test_a_replay_is_stamped_as_the_original_was(shop: Shop) -> None:
    signature = shop.task("stamps").s(attempt=2)
    signature.stamp(visitor=Customer())
    result = signature.apply_async(max_attempts=1)
    shop.ended(result)
    shop.jobs.replay(result.id)
    assert shop.settle() == [STAMPED] * 2
