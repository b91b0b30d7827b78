"""The jobs database goes away between a step's work and the next step: it is waited for, and nothing has failed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord

from celery_jobs import StoreUnavailable
from celery_jobs.store.db import Database

if TYPE_CHECKING:
    from tests.canvas.shop import Shop

pytestmark = pytest.mark.xdist_group("canvas")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The enqueues of the worker that the database has refused: the first two."""
    refused: list[str] = []
    run = Database.run

    def away(db: Database, transition: Any, within: float = 60, point: str | None = None, alone: bool = False) -> Any:
        if point == "enqueue" and len(refused) < 2 and threading.current_thread() is not threading.main_thread():
            refused.append(point)
            raise StoreUnavailable("the jobs database does not answer")
        return run(db, transition, within, point, alone)

    monkeypatch.setattr(Database, "run", away)
    return refused


CANVASES: dict[str, Any] = {
    "a chain": lambda task, note: chain(task("add").s(1, 1), note),
    "a link": lambda task, note: task("add").s(1, 1).set(link=note),
    "the body of a chord": lambda task, note: chord([task("add").s(1, 1)], note),
    "an errback": lambda task, note: task("fails").s().on_error(task("note_id").s()),
}


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_next_step_is_stored_when_the_database_is_back(shop: Shop, refused: list[str], canvas: str) -> None:
    dead = shop.jobs.count(status="dead_lettered")
    CANVASES[canvas](shop.task, shop.task("note").s()).apply_async()
    assert shop.settle() == {"the body of a chord": ["[2]"], "an errback": ["an id"]}.get(canvas, ["2"])
    assert len(refused) == 2
    assert shop.jobs.count(status="dead_lettered") - dead == (1 if canvas == "an errback" else 0)
