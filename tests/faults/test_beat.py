"""Beat dies, comes back and is there twice: what it drives goes on, nothing is done twice, nothing storms."""

from __future__ import annotations

import shelve
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import select, update

from celery_jobs import Jobs
from celery_jobs.store import invariants
from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs, services
from tests.faults.yard import Yard
from tests.processes import wait_until
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

INTERVAL = 1.0
HOUR = 3600
OFTEN = ("promote", "redispatch", "reap")
"""What beat ticks for each interval; the sweepers have a day."""


@pytest.fixture
def yard(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    """A yard whose promoter sends nothing ahead of its time, so that its turns are what counts."""
    settings = {f"jobs_{name}_interval": INTERVAL for name in OFTEN} | {"jobs_promote_ahead": 0.01}
    with Yard(broker_url, database_url, tmp_path, **settings) as yard:
        yield yard
        assert invariants.check(yard.db) == []


def delayed(yard: Yard, count: int, delay: float = 70) -> list[str]:
    """Jobs that are held in SQL."""
    calls = [_call(yard, number, delay) for number in range(count)]
    return [str(outcome.job_id) for outcome in Jobs(yard.app).enqueue_many(calls)]


def _call(yard: Yard, number: int, delay: float) -> dict[str, Any]:
    return {"task": "tests.faults.clockwork.note", "args": [str(yard.notes), str(number)], "delay": delay}


def fall_due(yard: Yard, ids: list[str], within: float) -> None:
    """Spread when jobs fall due over the next `within` seconds, as if their delay had nearly passed."""
    with yard.db.transaction() as connection:
        for number, job_id in enumerate(ids):
            soon = now(within * number / len(ids))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(scheduled_at=soon))


def rows_of(yard: Yard) -> list[Any]:
    with yard.db.reading() as connection:
        return list(connection.execute(select(jobs)))


def lateness(yard: Yard) -> list[float]:
    """By how many seconds each job started after its time."""
    return [(row.started_at - row.scheduled_at).total_seconds() for row in rows_of(yard)]


def messages_in(broker_url: str, queue: str) -> int:
    with Redis.from_url(broker_url) as client:
        lists: list[Any] = [queue, *(f"{queue}\x06\x16{level}" for level in (3, 6, 9))]
        return sum(int(client.llen(name)) for name in lists)


def ages_of(schedule: str) -> list[float]:
    """Seconds since beat ran each entry of its schedule file."""
    with shelve.open(schedule, "r") as kept:
        return [(datetime.now(UTC) - entry.last_run_at).total_seconds() for entry in kept["entries"].values()]


def test_without_beat_a_delayed_job_starts_one_look_of_the_workers_late_at_most(yard: Yard) -> None:
    ids = delayed(yard, 20)
    workers = yard.worker(), yard.worker()
    fall_due(yard, ids, within=2)
    wait_until(lambda: all(row.ended_at for row in rows_of(yard)), 30, process=workers[0])
    late = lateness(yard)
    assert min(late) >= 0
    assert max(late) <= INTERVAL * 1.25 + 5
    assert Counter(yard.noted()) == {str(number): 1 for number in range(20)}
    assert {row.send_count for row in rows_of(yard)} == {1}


@pytest.mark.matrix
def test_after_an_hour_without_beat_and_workers_each_job_is_sent_and_runs_once(yard: Yard, broker_url: str) -> None:
    ids = [job_id for minute in range(50) for job_id in delayed(yard, 10, delay=61 + minute * 60)]
    schedule = str(yard.folder / "schedule")
    earlier = yard.beat(f"--schedule={schedule}", clock=-HOUR)
    # Stopped before its first tick it would keep nothing.
    wait_until(lambda: "Sending due task" in earlier.log, process=earlier)
    earlier.stop()
    assert min(ages_of(schedule)) >= HOUR
    with Redis.from_url(broker_url) as client:
        client.flushdb()  # its ticks expired long ago
    shift(yard.db, HOUR)
    beat = yard.beat(f"--schedule={schedule}")
    wait_until(lambda: messages_in(broker_url, "celery-jobs") > len(OFTEN), process=beat)
    assert messages_in(broker_url, "celery-jobs") <= 5 * len(OFTEN)  # of an hour it would be 3600 times as many
    worker = yard.worker("-c", "2")
    wait_until(lambda: all(row.ended_at for row in rows_of(yard)), 40, process=worker)
    assert sorted(yard.noted()) == sorted(str(number % 10) for number in range(len(ids)))
    assert {(row.final_status, row.send_count) for row in rows_of(yard)} == {("success", 1)}
    assert len(rows_of(yard)) == len(ids)
    assert messages_in(broker_url, "celery") == 0


def test_of_two_beats_ticks_each_service_has_one_turn_and_each_delayed_job_one_message(yard: Yard) -> None:
    ids = delayed(yard, 20)
    worker = yard.worker()
    yard.beat(), yard.beat()
    fall_due(yard, ids, within=2)
    turns = watch_turns(yard, "promoter", 4)
    wait_until(lambda: all(row.ended_at for row in rows_of(yard)), 30, process=worker)
    gaps = [later - earlier for earlier, later in pairwise(turns)]
    assert min(gaps) >= timedelta(seconds=1)
    assert Counter(yard.noted()) == {str(number): 1 for number in range(20)}
    assert {row.send_count for row in rows_of(yard)} == {1}
    assert min(lateness(yard)) >= 0


def watch_turns(yard: Yard, service: str, count: int) -> list[datetime]:
    """The moments of so many turns of a service."""
    seen: list[datetime] = []

    def look() -> bool:
        with yard.db.reading() as connection:
            ran_at = connection.execute(select(services.c.ran_at).where(services.c.name == service)).scalar()
        if ran_at is not None and ran_at not in seen:
            seen.append(ran_at)
        return len(seen) >= count

    wait_until(look, 30)
    return seen
