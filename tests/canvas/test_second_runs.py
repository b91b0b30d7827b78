"""A worker that dies between the work and its record runs a step again: what follows it is there once all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from celery_jobs import execution
from celery_jobs.plugin import plugin_of
from celery_jobs.sending import sender_of
from celery_jobs.store import endings, sends

if TYPE_CHECKING:
    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs of the task `add` whose first run has ended, its result and what follows published, unrecorded."""
    lost: list[str] = []
    record = execution._finish

    def finish(execution: execution.Execution, outcome: Any) -> Any:
        job, plugin = execution.job, execution.plugin
        if job.task != "add" or job.id in lost:
            return record(execution, outcome)
        lost.append(job.id)
        assert endings.lose(plugin.db, job.id, plugin.settings.max_losses, lease_token=job.lease_token) is True
        sender_of(plugin).send_now([job.id])
        return outcome

    monkeypatch.setattr(execution, "_finish", finish)
    return lost


CANVASES: dict[str, tuple[Any, list[str]]] = {
    "a chain": (lambda add, note: chain(add.s(1, 1), note.s()), ["2"]),
    "a link": (lambda add, note: add.s(1, 1).set(link=note.s()), ["2"]),
    "links": (lambda add, note: add.s(1, 1).set(link=[note.s("a"), note.s("b")]), ["a2", "b2"]),
    "a link in a chain": (lambda add, note: chain(add.s(1, 1).set(link=note.s("a")), note.s("b")), ["a2", "b2"]),
    "links of a group": (lambda add, note: group(add.s(1, n).set(link=note.s()) for n in (1, 2)), ["2", "3"]),
    "a link with a key": (lambda add, note: add.s(1, 1).set(link=note.s().set(idempotency_key="one")), ["2"]),
    "a chord": (lambda add, note: chord([add.s(1, 1), add.s(2, 2)], note.s()), ["[2, 4]"]),
    "a chord's chains": (lambda add, note: chord([chain(add.s(1, 1), add.s(1)), add.s(4)], note.s()), ["[3, 4]"]),
}


@pytest.mark.parametrize("canvas", CANVASES)
def test_what_follows_a_step_that_ran_twice_runs_once(shop: Shop, unrecorded: list[str], canvas: str) -> None:
    make, noted = CANVASES[canvas]
    before = shop.jobs.count(status="dead_lettered")
    make(shop.task("add"), shop.task("note")).apply_async()
    assert shop.settle() == noted
    assert unrecorded
    assert {shop.jobs.get(id).losses for id in unrecorded} == {1}
    assert shop.jobs.count(status="dead_lettered") == before


def test_a_member_whose_message_comes_again_counts_once_in_its_chord(shop: Shop) -> None:
    plugin, add = plugin_of(shop.app), shop.task("add")
    canvas = chord([add.s(1, 1), shop.task("works_on_attempt").s(2)], shop.task("note").s())
    result = canvas.apply_async()
    for _ in range(3):
        sender_of(plugin).send(sends.fetch(plugin.db, [shop.jobs.get(member.id).id for member in result.parent]))
    assert shop.value(result) == [2, 2]
    assert shop.settle() == ["[2, 2]"]
    for member in result.parent:
        sender_of(plugin).send(sends.fetch(plugin.db, [shop.jobs.get(member.id).id]))
    shop.value(add.delay(1))
    assert shop.settle() == ["[2, 2]"]
