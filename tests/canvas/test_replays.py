"""A replay of a member: what follows it runs on, and its group or chord hears nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from celery_jobs.envelope import decode_body, decode_headers
from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")


@pytest.fixture
def replay(shop: Shop) -> Callable[[Any], Any]:
    """Has a canvas die of its tasks `repairable`, repairs them, replays each and gives the canvas's result."""

    def dead() -> set[str]:
        return {run.id for run in shop.jobs.list(task="repairable", status="dead_lettered", limit=1000)}

    def replay(canvas: Any) -> Any:
        before = dead()
        shop.broken.add("repairable")
        result = canvas.apply_async()
        shop.settle()
        shop.broken.clear()
        shop.noted.clear()
        died = dead() - before
        assert died
        for id in died:
            shop.jobs.replay(id)
        shop.settle()
        return result

    return replay


def test_the_rest_of_a_chain_runs_on_and_its_last_step_has_its_value(shop: Shop, replay: Callable[[Any], Any]) -> None:
    rest = shop.task("works_on_attempt").s() | shop.task("note").s("the end: ")
    result = replay(chain(shop.task("repairable").s(5), rest))
    assert shop.settle() == ["the end: 5"]
    assert shop.value(shop.app.AsyncResult(result.id)) == 5


def test_links_run_on_and_errbacks_when_it_dies_again(shop: Shop, replay: Callable[[Any], Any]) -> None:
    note, note_error = shop.task("note"), shop.task("note_error")
    result = replay(shop.task("repairable").s(5).set(link=note.s("linked "), link_error=note_error.s()))
    assert shop.settle() == ["linked 5"]
    shop.broken.add("repairable")
    shop.jobs.replay(result.id, force=True)
    assert shop.settle() == ["ValueError", "linked 5"]


CHORDS: dict[str, Any] = {
    "a member": (lambda dead, add, total: [dead, add], []),
    "a member's chain": (lambda dead, add, total: [dead | add, add], [105]),
    "both members' chains": (lambda dead, add, total: [dead | add, dead | add], [105, 105]),
    "a chain that ends in a group": (lambda dead, add, total: [dead | group(add, add), add], [105, 105]),
    "a chain that ends in a chord": (lambda dead, add, total: [dead | group(add, add) | total, add], [105, 105, 210]),
}
"""Members of a chord, and what the rest of their chains makes of the replay's 5."""


@pytest.mark.parametrize("members", CHORDS)
def test_a_chord_that_has_failed_is_not_continued(shop: Shop, replay: Callable[[Any], Any], members: str) -> None:
    make, values = CHORDS[members]
    header = make(shop.task("repairable").si(5), shop.task("add").s(100), shop.task("total").s())
    replay(chord([member.clone() for member in header], shop.task("note").s("the body: ")))
    assert shop.settle() == []
    replays = [run for run in shop.jobs.list(task="repairable") if run.replay_of][: 2 if "both" in members else 1]
    root_ids = {run.task_id for run in replays}
    rest = [(run, message) for run in shop.jobs.list(limit=12) if (message := rest_of(shop, run, root_ids))]
    assert sorted(run.result for run, _ in rest) == values
    assert {"the body" in str(message) for _, message in rest} <= {False}


def rest_of(shop: Shop, run: Any, root_ids: set[str]) -> Any:
    """The message of a job that follows one of these; None of any other."""
    message = reads.message_of(shop.db, run.id)
    assert message is not None
    follows = run.task_id not in root_ids and decode_headers(message)["root_id"] in root_ids
    return decode_body(plugin_of(shop.app), message) if follows else None


def test_a_group_keeps_its_failure_and_the_replay_has_a_result_of_its_own(
    shop: Shop, replay: Callable[[Any], Any]
) -> None:
    result = replay(group(shop.task("repairable").s(5), shop.task("add").s(1)))
    dead, fine = result.results
    again = shop.jobs.get(str(shop.jobs.get(dead.id).replayed_as))
    assert (dead.state, fine.state) == ("FAILURE", "SUCCESS")
    assert shop.value(shop.app.AsyncResult(again.task_id)) == 5
    assert again.task_id != dead.id


def test_the_replay_of_a_success_leaves_the_result_of_its_original(shop: Shop) -> None:
    result = shop.task("add").delay(1, 1)
    shop.ended(result)
    again = shop.jobs.replay(result.id)
    assert shop.value(shop.app.AsyncResult(again.task_id)) == 2
    assert again.task_id != result.id
    assert shop.value(result) == 2
