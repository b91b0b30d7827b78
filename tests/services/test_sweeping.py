"""A sweep goes on in slices until nothing is left: by who began it, and by another where that is gone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from celery_jobs.errors import StoreUnavailable
from celery_jobs.services import sweepers
from celery_jobs.store import chains, dead_letters, workers
from celery_jobs.store.rows import Failure
from celery_jobs.store.tables import jobs, services
from celery_jobs.worker.stand_in import StandIn
from tests.processes import wait_until
from tests.services.test_reaper_and_sweepers import claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service

SWEEPER = "dead-letter-sweeper"
OLD = 7
GONE = sweepers.GRACE + 1
"""Seconds after which others go on."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice is a batch, a batch two chains; a pause nothing but what is said here."""
    monkeypatch.setattr(sweepers, "BATCH", 2)
    monkeypatch.setattr(sweepers, "SLICE", 0)
    monkeypatch.setattr(sweepers, "PAUSES", 0)


@pytest.fixture
def old(app: Celery, plugin: Plugin, later: Callable[[float], None]) -> None:
    """Dead letters that are older than their retention."""
    worker = workers.register(plugin.db, "w@here", 1, ["celery"])
    failure = Failure("exception", "ValueError", "no")
    for _ in range(OLD):
        chains.bury(plugin.db, claim(plugin, str(app.tasks["services.add"].delay(1).job_id), worker), failure)
    later(15 * 86_400)


@pytest.fixture
def left(plugin: Plugin) -> Callable[[], int]:
    """How many jobs there are."""

    def count() -> int:
        with plugin.db.asking() as connection:
            return int(connection.execute(select(func.count()).select_from(jobs)).scalar_one())

    return count


def ages(plugin: Plugin) -> dict[str, float]:
    """What a heartbeat tells the stand-in."""
    worker = workers.register(plugin.db, "w@there", 1, ["celery"])
    pulse = workers.heartbeat(plugin.db, worker, ["celery"], StandIn(plugin).names)
    assert pulse is not None
    return pulse.ages


def handled(plugin: Plugin) -> int | None:
    with plugin.db.asking() as connection:
        found: int | None = connection.execute(select(services.c.handled).where(services.c.name == SWEEPER)).scalar()
    return found


@pytest.mark.usefixtures("old")
def test_a_turn_is_one_slice_and_who_took_it_goes_on(
    plugin: Plugin, service: Callable[[str], Service], left: Callable[[], int]
) -> None:
    sweeper = service(SWEEPER)
    assert (sweeper.again_in, sweeper.tick(), left()) == (None, 2, OLD - 2)
    slices = 1
    while sweeper.again_in is not None:
        assert handled(plugin) is None
        assert ages(plugin)[SWEEPER] == math.inf
        assert sweeper.run_if_overdue() is not None
        slices += 1
    assert slices > OLD // 2
    assert left() == 0
    assert handled(plugin) is not None
    assert ages(plugin)[SWEEPER] < 60
    assert sweeper.run_if_overdue() is None


@pytest.mark.usefixtures("old")
def test_others_leave_it_to_who_began_and_go_on_where_that_is_gone(
    service: Callable[[str], Service],
    later: Callable[[float], None],
    left: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, other = service(SWEEPER), service(SWEEPER)
    assert first.tick() == 2
    later(2)
    assert other.tick() is None  # of a second beat, or a message that came late
    assert other.run_if_overdue() is None
    later(GONE)
    assert other.run_if_overdue() == 2
    with monkeypatch.context() as patch:
        patch.setattr(sweepers, "PAUSES", 1e6)
        assert (first.run_if_overdue(), first.again_in) == (None, None)  # of two that remember how far they came
    while other.again_in is not None:
        assert other.run_if_overdue() is not None
    assert left() == 0


@pytest.mark.usefixtures("old")
def test_a_slice_that_broke_off_is_followed_by_anothers(
    plugin: Plugin,
    service: Callable[[str], Service],
    later: Callable[[float], None],
    left: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    broken = service(SWEEPER)
    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "sweep_dead_letters", away)
        with pytest.raises(StoreUnavailable):
            broken.tick()
    assert broken.again_in is None
    assert ages(plugin)[SWEEPER] == math.inf
    assert service(SWEEPER).run_if_overdue() is None
    later(GONE)
    sweeper = service(SWEEPER)
    assert sweeper.run_if_overdue() == 2
    while sweeper.again_in is not None:
        sweeper.run_if_overdue()
    assert left() == 0


@pytest.mark.usefixtures("old")
def test_the_next_slice_is_due_after_a_pause_that_shrinks_once_an_interval_has_passed(
    service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweepers, "PAUSES", 1e6)
    monkeypatch.setattr(sweepers, "HASTE", 0)
    patient, hasty = service(SWEEPER), service("history-sweeper")
    assert patient.tick() == 2
    assert patient.again_in
    assert patient.run_if_overdue() is None
    assert patient.again_in is None  # another may be at it
    monkeypatch.setattr(type(hasty), "interval", 0)
    monkeypatch.setattr(type(hasty), "_batches", lambda self: iter([1, 1]))
    assert (hasty.tick(), hasty.again_in, hasty.run_if_overdue()) == (1, 0, 1)


@pytest.mark.usefixtures("old")
def test_a_slice_begins_behind_the_one_before(
    service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    sweep = dead_letters.sweep_dead_letters

    def watched(db: Any, queue: Any, days: float, others: Any, limit: int, after: Any = None) -> Any:
        begun.append(after)
        return sweep(db, queue, days, others, limit, after)

    monkeypatch.setattr(dead_letters, "sweep_dead_letters", watched)
    sweeper = service(SWEEPER)
    sweeper.tick()
    while sweeper.again_in is not None:
        sweeper.run_if_overdue()
    assert begun[0] is None
    assert len(begun) > OLD // 2
    assert begun[1:] == sorted(set(begun[1:]))


@pytest.mark.usefixtures("old")
def test_the_stand_in_goes_on_by_itself_with_what_it_has_begun(
    plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None], left: Callable[[], int]
) -> None:
    service(SWEEPER).tick()
    later(GONE)
    stand_in = StandIn(plugin)
    stand_in.start()
    try:
        stand_in.look(ages(plugin))  # as one heartbeat
        wait_until(lambda: left() == 0 and handled(plugin) is not None)
    finally:
        stand_in.stop()


@pytest.mark.usefixtures("old")
def test_by_hand_all_goes_at_once(service: Callable[[str], Service], left: Callable[[], int]) -> None:
    service(SWEEPER).tick()
    assert service(SWEEPER).run_once() == OLD - 2
    assert left() == 0
