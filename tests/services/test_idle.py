"""What an idle worker and beat ask of PostgreSQL: one statement a heartbeat, one a turn; and no sign is missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs.services import SERVICES
from celery_jobs.settings import Settings
from celery_jobs.store import sends, workers
from celery_jobs.ticker import Ticker
from tests.servers.round_trips import round_trips
from tests.services.test_reaper_and_sweepers import claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service

MOST_A_MINUTE = 20

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize("held", [0, 4], ids=["nothing held", "four queues hold delayed jobs"])
def test_a_heartbeat_and_an_idle_turn_are_one_statement_each(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None], held: int
) -> None:
    for n in range(held):
        app.tasks["services.add"].apply_async((1,), delay=3600, queue=f"held-{n}")
    worker = workers.register(plugin.db, "w@here", 1, ["celery"])
    workers.heartbeat(plugin.db, worker, ["celery"], list(SERVICES))  # prepared
    with round_trips(plugin.db) as said:
        workers.heartbeat(plugin.db, worker, ["celery"], list(SERVICES))
    assert len(said) == 1, said
    settings = Settings()
    a_minute = 60 / settings.heartbeat_interval
    for name in SERVICES:
        service(name).tick()
        later(30)
        workers.heartbeat(plugin.db, worker, ["celery"])
        with round_trips(plugin.db) as said:
            assert service(name).tick() == 0
        if "sweeper" not in name:  # which look at each queue's retention, once a day
            assert len(said) == 1, said
        a_minute += len(said) * 60 / service(name).interval
    ticker = Ticker(plugin)
    with round_trips(plugin.db) as said:
        a_minute += 60 / ticker.look()
    assert len(said) == 1, said
    assert a_minute <= MOST_A_MINUTE


@on_postgresql
def test_a_read_of_one_statement_is_one_round_trip(plugin: Plugin) -> None:
    with round_trips(plugin.db) as said:
        sends.unsent_queues(plugin.db, 75)
    assert len(said) == 1, said


def test_a_turn_that_has_something_to_do_does_it(
    app: Celery,
    plugin: Plugin,
    service: Callable[[str], Service],
    later: Callable[[float], None],
) -> None:
    assert service("promoter").tick() == service("redispatcher").tick() == service("reaper").tick() == 0
    add = app.tasks["services.add"]
    add.apply_async((1,), delay=100)
    later(50)
    assert service("promoter").tick() == 1

    expiring = add.apply_async((1,), expires=10)
    later(20)
    assert service("redispatcher").tick() == 1
    assert expiring.state == "REVOKED"

    claim(plugin, add.delay(1).job_id, workers.register(plugin.db, "w@here", 1, ["celery"]))
    turns = []
    for _ in range(6):
        later(15)
        turns.append(service("reaper").tick())
    assert (turns[:3], sum(filter(None, turns))) == ([0, 0, 0], 1)
