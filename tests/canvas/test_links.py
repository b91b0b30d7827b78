"""Links, replacements and members that a running chord takes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain, chord, group

if TYPE_CHECKING:
    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")


def test_links_are_jobs_of_their_own_that_are_handed_the_value_once(shop: Shop) -> None:
    note, late = shop.task("note"), shop.task("works_on_attempt")
    links = [note.s("first "), late.s() | note.s("second "), group(note.s("third "), note.s("fourth "))]
    result = late.s(7).set(link=links).apply_async()
    assert shop.value(result) == 7
    assert shop.settle() == ["first 7", "fourth 7", "second 7", "third 7"]
    assert [row.status for row in shop.ended(result)] == ["failed", "failed", "completed"]


def test_a_link_of_a_group_and_of_a_chord_is_where_celery_puts_it(shop: Shop) -> None:
    late, total, note = (shop.task(name) for name in ("works_on_attempt", "total", "note"))
    members = group(late.s(1), late.s(2))
    members.link(note.s("of the first member"))
    body = chord([late.s(1), late.s(2)], total.s())
    body.link(note.s("of the body: "))
    shop.value(members.apply_async())
    shop.value(body.apply_async())
    assert shop.settle() == ["of the body: 3", "of the first member"]


@pytest.mark.parametrize("by", ["a task", "a chain", "a chord", "a group"])
def test_a_step_that_replaces_itself_hands_on_what_its_replacement_gives(shop: Shop, by: str) -> None:
    """Each of them is late, and so is the step itself."""
    add, late, total = (shop.task(name) for name in ("add", "works_on_attempt", "total"))
    replacement, value = {
        "a task": (late.s(5), 6),
        "a chain": (chain(late.s(5), add.s(1), late.s()), 7),
        "a chord": (chord([late.s(5), add.s(1)], total.s()), 7),
        "a group": (group(late.s(5), add.s(1)), None),
    }[by]
    step = shop.task("replaces_itself").si(1, replacement, attempt=2)
    if by == "a group":
        assert shop.value(chain(step, total.s()).apply_async()) == 6
        return
    result = chain(add.s(1), step, add.s(1)).apply_async()
    assert shop.value(result) == value
    replaced = shop.jobs.list(task="replaces_itself").runs[0]
    assert (replaced.final_status, replaced.attempt_number) == ("success", 2)
    assert replaced.task_id == result.parent.id


def test_a_member_that_replaces_itself_completes_its_chord(shop: Shop) -> None:
    late, total = shop.task("works_on_attempt"), shop.task("total")
    step = shop.task("replaces_itself").si(1, late.s(5), attempt=3)
    assert shop.value(chord([step, late.s(1)], total.s()).apply_async()) == 6


def test_a_member_that_a_running_chord_takes_in_counts_also_when_it_is_late(shop: Shop) -> None:
    canvas = chord([shop.task("adds_to_its_chord").s(1), shop.task("add").s(2)], shop.task("total").s())
    result = canvas.apply_async()
    assert shop.value(result) == 13
    (added,) = (run for run in shop.jobs.list(task="works_on_attempt", limit=1))
    assert (added.final_status, added.attempt_number, added.result) == ("success", 3, 10)
