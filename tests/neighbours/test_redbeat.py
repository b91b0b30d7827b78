"""celery-redbeat's scheduler runs our entries and the app's, over restarts too."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.beat import beat_schedule
from celery_jobs.plugin import plugin_of
from celery_jobs.ticks import note_ticks
from tests.neighbours.red_shop import make_app
from tests.processes import SOURCE, Beat, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database())
    app.finalize()
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


def wanted(app: Celery) -> dict[str, float]:
    """Seconds between the ticks of our entries and the app's own."""
    ours = beat_schedule(plugin_of(app).settings)
    return {name: entry["schedule"] for name, entry in ours.items()} | {"close-the-books": 1.0}


def entries(app: Celery) -> dict[str, float]:
    """What redbeat has in Redis: seconds between the ticks of each entry."""
    with Redis.from_url(app.conf.redbeat_redis_url, decode_responses=True) as client:
        keys: Any = client.zrange("redbeat::schedule", 0, -1)
        found = [json.loads(str(client.hget(key, "definition"))) for key in keys]
    return {entry["name"]: entry["schedule"]["every"] for entry in found if entry["task"] != "celery.backend_cleanup"}


def ticks(app: Celery) -> list[dict[str, Any]]:
    """The headers of the ticks that wait for a worker, oldest first."""
    with Redis.from_url(app.conf.broker_url) as client:
        waiting: Any = client.lrange("celery-jobs", 0, -1)
    return [json.loads(message)["headers"] for message in reversed(waiting)]


@pytest.fixture
def redbeat() -> Iterator[Any]:
    """The package, which listens to every beat of the process from its import on."""
    import redbeat
    from celery.signals import beat_init
    from redbeat.schedulers import acquire_distributed_beat_lock

    yield redbeat
    beat_init.disconnect(acquire_distributed_beat_lock)


def test_the_entries_in_redis_are_ours_and_the_apps_and_become_ticks_and_jobs(app: Celery, redbeat: Any) -> None:
    app.conf.redbeat_lock_key = None  # nobody else is here
    scheduler = redbeat.RedBeatScheduler(app, lazy=False)
    assert entries(app) == wanted(app)
    for name in wanted(app):
        key = redbeat.RedBeatSchedulerEntry.generate_key(app, name)
        redbeat.RedBeatSchedulerEntry.from_key(key, app=app).reschedule(datetime.now(UTC) - timedelta(days=2))
    scheduler.tick()
    assert Counter(tick["task"] for tick in ticks(app)) == {
        entry["task"]: 1 for entry in beat_schedule(plugin_of(app).settings).values()
    }
    assert all(tick["expires"] for tick in ticks(app))
    [run] = Jobs(app).list().runs
    assert (run.task, run.status, str(Jobs(app).arguments(run.id))) == ("close_the_books", "pending", "(7)")


def test_two_schedulers_that_have_an_entry_make_one_job_of_its_tick(app: Celery, redbeat: Any) -> None:
    """Where nobody holds redbeat's lock, or its lock was lost."""
    app.conf.redbeat_lock_key = None
    schedulers = [redbeat.RedBeatScheduler(app, lazy=False) for _ in range(2)]
    key = redbeat.RedBeatSchedulerEntry.generate_key(app, "close-the-books")
    entries = [redbeat.RedBeatSchedulerEntry.from_key(key, app=app) for _ in schedulers]
    for scheduler, entry in zip(schedulers, entries, strict=True):
        note_ticks(scheduler)
        entry.last_run_at = datetime.now(UTC) - timedelta(minutes=1)
        scheduler.maybe_due(entry)
    assert len(Jobs(app).list().runs) == 1


def until_sent(process: Beat, *names: str) -> None:
    """Wait until a beat has sent some entries twice."""
    wait_until(lambda: all(process.log.count(f"Sending due task {name} ") >= 2 for name in names), 30, process=process)


@pytest.mark.matrix
@pytest.mark.parametrize("end", [Beat.stop, Beat.kill], ids=["stopped", "killed"])
def test_a_restarted_beat_has_each_entry_once(app: Celery, tmp_path: Path, end: Callable[[Beat], object]) -> None:
    def beat() -> Beat:
        return Beat(
            "tests.neighbours.red_shop:app",
            tmp_path,
            broker_url=app.conf.broker_url,
            env={
                "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
                "SHOP_DATABASE_URL": app.conf.jobs_database_url,
            },
        )

    with beat().wait_ready() as first:
        until_sent(first, "celery-jobs.promoter", "celery-jobs.redispatcher", "close-the-books")
        end(first)
    before = {run.id for run in Jobs(app).list().runs}
    with Redis.from_url(app.conf.broker_url) as client:
        client.delete("celery-jobs")
    began = datetime.now(UTC)
    with beat().wait_ready() as second:
        until_sent(second, "celery-jobs.promoter", "celery-jobs.redispatcher", "close-the-books")
        second.stop()
    seconds = (datetime.now(UTC) - began).total_seconds()
    assert entries(app) == wanted(app)
    sent = Counter(tick["task"] for tick in ticks(app))
    assert 2 <= sent["celery_jobs.promoter"] <= seconds + 1
    assert sent["celery_jobs.dead_letter_sweeper"] == 0  # its day has not passed, whoever restarted
    assert len({run.id for run in Jobs(app).list().runs} - before) >= 2
