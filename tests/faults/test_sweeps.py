"""A sweep whose worker is killed, or whose messages are lost, goes on in whatever worker there is, slice by slice."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from celery_jobs.services.sweepers import PAUSES, SLICE
from celery_jobs.store import invariants
from celery_jobs.store.tables import jobs, messages, services
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

SWEEPERS = ("dead-letter-sweeper", "history-sweeper")
OLD = (
    "INSERT INTO jobs (id, original_id, message_id, task_id, max_attempts, retries_enabled, queue, task, status,"
    " final_status, created_at, scheduled_at, sent_at, started_at, finished_at, ended_at) "
    "SELECT id, id, id, id::text, 4, true, 'celery', 'old', 'completed', 'success', at, at, at, at, at, at "
    "FROM (SELECT gen_random_uuid() AS id, now() - interval '40 days' AS at FROM generate_series(1, {count})) AS made",
    "INSERT INTO messages (id, body, content_type, content_encoding, headers, properties, exchange, routing_key) "
    "SELECT id, '[[], {{}}, {{}}]', 'application/json', 'utf-8', '{{}}', '{{}}', '', queue FROM jobs",
)
SOME = 3
"""Slices; on a busy machine all of them take minutes."""
UNFINISHED = "INSERT INTO services (name, ran_at) SELECT '{name}', now() - interval '1 hour'"


@pytest.fixture
def yard(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    with Yard(broker_url, database_url, tmp_path) as yard:
        yield yard
        assert invariants.check(yard.db) == []


def begin(yard: Yard, count: int) -> None:
    """Put so many old runs there, and sweeps that nobody goes on with."""
    with yard.db.transaction() as connection:
        for statement in OLD:
            connection.exec_driver_sql(statement.format(count=count))
        for name in SWEEPERS:
            connection.exec_driver_sql(UNFINISHED.format(name=name))


def left(yard: Yard) -> int:
    """How many old runs there are."""
    with yard.db.asking() as connection:
        count = select(func.count()).select_from(jobs).where(jobs.c.task == "old")
        return int(connection.execute(count).scalar_one())


def is_over(yard: Yard) -> bool:
    with yard.db.asking() as connection:
        ended = select(func.count()).select_from(services).where(services.c.name.in_(SWEEPERS))
        return int(connection.execute(ended.where(services.c.handled.is_not(None))).scalar_one()) == len(SWEEPERS)


def test_a_worker_goes_on_with_an_unfinished_sweep(yard: Yard) -> None:
    """No beat ticks, and none of the sweepers has missed a tick: what was begun is all that there is to tell."""
    begin(yard, 3000)
    worker = yard.worker()
    wait_until(lambda: is_over(yard), 60, process=worker)
    assert left(yard) == 0
    with yard.db.asking() as connection:
        assert connection.execute(select(func.count()).select_from(messages)).scalar_one() == 0


@pytest.mark.matrix
def test_a_sweep_whose_worker_is_killed_goes_on_in_another_and_two_beats_and_workers_do_not_hasten_it(
    yard: Yard,
) -> None:
    begin(yard, 15_000)
    first = yard.worker("-c", "2")
    wait_until(lambda: left(yard) < 15_000, 30, process=first)
    first.kill()
    assert not is_over(yard)
    before = left(yard)
    second = yard.worker("-c", "2")
    yard.worker("-c", "2"), yard.beat(), yard.beat()
    slices: list[datetime] = []

    def watch() -> bool:
        with yard.db.asking() as connection:
            ran_at = connection.execute(select(services.c.ran_at).where(services.c.name == SWEEPERS[1])).scalar_one()
        if ran_at not in slices:
            slices.append(ran_at)
        return len(slices) > SOME or is_over(yard)

    wait_until(watch, 50, process=second)
    assert left(yard) < before
    assert len(slices) > 1
    assert all(later - earlier > timedelta(seconds=SLICE * PAUSES) for earlier, later in pairwise(slices))
