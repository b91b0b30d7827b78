"""A worker that is told to end: what runs is finished or given back, what was only fetched is run by the next one."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.apps import make_app
from tests.pools.conftest import GREEN, PLACES, Shop, importing, start_worker
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

WAITING = 3
"""Jobs that are sent while every place is taken."""


@pytest.fixture
def database_url(new_postgresql_database: Callable[[], str]) -> str:
    return new_postgresql_database()


@pytest.fixture
def start(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    """Starts a worker of a pool, ended at the latest with the test, and gives its shop."""
    app = make_app(broker_url, database_url)
    with ExitStack() as stack:

        def new(pool: str) -> Shop:
            importing(pool)
            worker = stack.enter_context(start_worker(pool, tmp_path, broker_url, database_url))
            return Shop(app, pool, tmp_path, worker.wait_ready())

        yield new
    assert invariants.check(plugin_of(app).db) == []
    plugin_of(app).unchecked_db.dispose()
    app.close()


class Jobs:
    """As many jobs as there are places, which run, and some more, which wait."""

    def __init__(self, shop: Shop) -> None:
        self.gate, self.notes = shop.new_file(), shop.new_file()
        self.running = [self._enqueue(shop, f"running-{n}") for n in range(shop.places)]
        for result in self.running:
            shop.wait(result, lambda rows: rows[0].status == "processing")
        self.waiting = [self._enqueue(shop, f"waiting-{n}") for n in range(WAITING)]

    def _enqueue(self, shop: Shop, name: str) -> Any:
        return shop.enqueue("waits_for", str(self.gate), str(self.notes), name)

    def all_succeed(self, shop: Shop) -> None:
        """Each ends well in its first attempt, and its caller hears of it."""
        for result in (*self.running, *self.waiting):
            (job,) = shop.ended(result)
            assert job.final_status == "success"
            assert result.get(timeout=40) is not None

    @property
    def starts(self) -> list[str]:
        return sorted(self.notes.read_text().split())


@pytest.mark.parametrize("pool", PLACES)
def test_a_warm_shutdown_finishes_what_runs_and_loses_nothing_that_waits(
    start: Callable[[str], Shop], pool: str
) -> None:
    shop = start(pool)
    jobs = Jobs(shop)
    shop.worker.signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in shop.worker.log, process=shop.worker)
    jobs.gate.touch()
    assert shop.worker.wait_ended() == 0
    assert [shop.attempts(result)[0].status for result in jobs.running] == ["completed"] * shop.places
    jobs.all_succeed(start(pool))
    assert {job.losses for result in jobs.waiting for job in shop.attempts(result)} == {0}
    assert len(jobs.starts) == len(set(jobs.starts)) == shop.places + WAITING


@pytest.mark.parametrize("pool", GREEN)
def test_what_a_killed_worker_of_greenlets_ran_is_run_by_the_next_one(start: Callable[[str], Shop], pool: str) -> None:
    """Also after a cold shutdown, which Celery cannot always carry out in these pools."""
    shop = start(pool)
    jobs = Jobs(shop)
    shop.worker.signal(signal.SIGQUIT)
    wait_until(lambda: "Hitting Ctrl+C again" in shop.worker.log, process=shop.worker)
    shop.worker.kill()
    jobs.gate.touch()
    jobs.all_succeed(start(pool))
