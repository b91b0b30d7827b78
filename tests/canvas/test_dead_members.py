"""A member that is dead-lettered fails its canvas exactly as a failing task does in bare Celery."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.result import GroupResult

from tests.canvas.shop import PLAIN
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")

CANVASES: dict[str, Any] = {
    "a task": lambda t: t.fails.s().set(link=t.note.s()),
    "a task with errbacks": lambda t: t.fails.s().set(link_error=[t.note_error.s(), t.note_id.s()]),
    "a chain": lambda t: chain(t.add.s(1, 1), t.fails.s(), t.add.s(1)),
    "a chain with an errback": lambda t: chain(t.add.s(1, 1), t.fails.s(), t.add.s(1)).on_error(t.note_error.s()),
    "a group": lambda t: group(t.add.s(1, 1), t.fails.s(), t.add.s(2, 2)),
    "a group with an errback": lambda t: group(t.add.s(1, 1), t.fails.s()).on_error(t.note_error.s()),
    "a group of chains": lambda t: group(chain(t.fails.s(), t.add.s(1)), t.add.s(2, 2)),
    "a chord": lambda t: chord([t.add.s(1, 1), t.fails.s()], t.total.s()),
    "a chord that loses all": lambda t: chord([t.fails.s(), t.fails.s()], t.total.s()),
    "a chord with an errback": lambda t: chord([t.add.s(1, 1), t.fails.s()], t.total.s()).on_error(t.note_error.s()),
    "a chord with errbacks of member and body": lambda t: chord(
        [t.add.s(1, 1), t.fails.s().on_error(t.note_error.s("a member's "))], t.total.s().on_error(t.note_error.s())
    ),
    "a chord's body": lambda t: chord([t.add.s(1, 1)], t.fails.s().on_error(t.note_error.s())),
    "a chord's chain": lambda t: chord(
        [chain(t.add.s(1, 1), t.fails.s(), t.add.s(1)), t.add.s(1, 1)], t.total.s().on_error(t.note_error.s())
    ),
    "a chain's chord": lambda t: chain(chord([t.fails.s(), t.add.s(1, 1)], t.total.s()), t.add.s(1)),
    "a chord's chord": lambda t: chord([chord([t.fails.s(), t.add.s(1, 1)], t.total.s()), t.add.s(1, 1)], t.total.s()),
}


AS_A_RULE = 0.75
"""Seconds until a canvas has failed; a chord around a chord never is, in Celery either."""


class Tasks:
    """The tasks of a shop: jobs, or bare Celery's."""

    def __init__(self, shop: Shop, prefix: str) -> None:
        self.shop, self.prefix = shop, prefix

    def __getattr__(self, name: str) -> Any:
        return self.shop.task(self.prefix + name)


def states(result: Any) -> Any:
    """What Celery keeps of each part of a canvas."""
    if isinstance(result, GroupResult):
        return [states(member) for member in result.results]
    kept = type(result.result).__name__ if isinstance(result.result, Exception) else result.result
    return [result.state, kept, *([] if result.parent is None else [states(result.parent)])]


def outcome(shop: Shop, make: Any, prefix: str) -> tuple[str, Any, list[str]]:
    """What its caller is told, what is kept of its parts, and what links and errbacks have noted."""
    shop.noted.clear()
    result = make(Tasks(shop, prefix)).apply_async()
    with suppress(AssertionError):  # who asks sooner is told of the member or of the chord, whichever is first
        wait_until(result.ready, AS_A_RULE)
    told = re.sub(r"[0-9a-f-]{36}", "ID", shop.error(result))
    for _ in ("what failed", "an errback of it"):  # the worker runs one task after the other
        shop.value(shop.task(PLAIN + "add").delay(1))
    noted = shop.settle()
    return told, states(result), noted


@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
@pytest.mark.parametrize("name", CANVASES)
def test_a_dead_letter_in_a_canvas_is_to_its_caller_what_a_failure_is_in_bare_celery(shop: Shop, name: str) -> None:
    before = shop.jobs.count(status="dead_lettered")
    jobs, celerys = outcome(shop, CANVASES[name], ""), outcome(shop, CANVASES[name], PLAIN)
    assert jobs == celerys
    assert "it is broken" in jobs[0]
    assert shop.jobs.count(status="dead_lettered") - before == (2 if name == "a chord that loses all" else 1)


def test_an_errback_runs_once_and_not_before_the_last_attempt(shop: Shop) -> None:
    signature = shop.task("fails").s().on_error(shop.task("note_error").s()).on_error(shop.task("note_id").s())
    result = signature.apply_async()
    assert [row.attempt_number for row in shop.ended(result)] == [1, 2, 3]
    assert shop.settle() == ["ValueError", "an id"]
