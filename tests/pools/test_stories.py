"""The same promises in every pool: jobs run, are retried, die, wait, follow one another; the worker is seen to live."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from sqlalchemy import select, text

from celery_jobs.store.db import ROOM
from celery_jobs.store.tables import workers
from tests.callbacks.receiver import Receiver
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pools.conftest import Shop

pytestmark = pytest.mark.slow

CALLERS = 2
"""Connections of the tests' own process."""

CANNOT_STOP = ("threads", "solo")
"""Pools in which a task runs to its end."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_job_that_fails_is_retried_by_policy_and_succeeds_or_dies(shop: Shop) -> None:
    well = shop.enqueue("add", 3, 4)
    later, never = (shop.enqueue("works_on_attempt", number) for number in (3, 9))
    assert well.get(timeout=40) == 7
    assert later.get(timeout=40) == 1
    with pytest.raises(ValueError, match="attempt 3 fails"):
        never.get(timeout=40)
    assert [len(shop.ended(result)) for result in (well, later, never)] == [1, 3, 3]
    assert [shop.attempts(result)[0].final_status for result in (well, later)] == ["success", "success"]
    assert never.id in [run.task_id for run in shop.jobs.list(status="dead_lettered")]


@pytest.mark.matrix
def test_a_delayed_job_does_not_start_before_its_time(shop: Shop) -> None:
    result = shop.enqueue("add", 1, 2, countdown=2)
    assert result.get(timeout=40) == 3
    (job,) = shop.ended(result)
    assert job.started_at is not None
    assert job.started_at >= job.scheduled_at


@pytest.mark.matrix
def test_a_chain_and_a_chord_go_on_after_retries(shop: Shop) -> None:
    add, later = shop.call("add", 1, 1), shop.call("works_on_attempt", 2)
    one = chain(add, later, shop.call("add", 5), app=shop.app).apply_async()
    many = chord([add, shop.call("works_on_attempt", 2, 8)], app=shop.app)(shop.call("total"))
    assert one.get(timeout=40) == 7
    assert many.get(timeout=40) == 10


def test_a_worker_whose_places_are_all_taken_is_seen_to_live_and_keeps_its_connections_bounded(shop: Shop) -> None:
    gate, notes = shop.new_file(), shop.new_file()
    names = [f"job-{number}" for number in range(shop.places)]
    busy = [shop.enqueue("waits_for", str(gate), str(notes), name) for name in names]
    for result in busy:
        shop.wait(result, lambda rows: rows[0].status == "processing")
    seen = heartbeat(shop)
    for _ in range(2):
        seen = wait_until(lambda: (now := heartbeat(shop)) != seen and now, process=shop.worker)  # noqa: B023
    gate.touch()
    most = max(connections(shop) for result in busy for _ in [shop.ended(result)])
    assert most <= ROOM + CALLERS
    assert [result.get(timeout=40) for result in busy] == names
    assert sorted(notes.read_text().split()) == sorted(names)


def heartbeat(shop: Shop) -> Any:
    """The last heartbeat of the only worker there is, which lives."""
    with shop.db.reading() as connection:
        (row,) = connection.execute(select(workers.c.heartbeat_at, workers.c.dead_at)).all()
    assert row.dead_at is None
    return row.heartbeat_at


def connections(shop: Shop) -> int:
    """How many connections the server has to the jobs' database; SQLite has no server."""
    if shop.db.is_sqlite:
        return 0
    with shop.db.reading() as connection:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return int(connection.execute(text(count)).scalar_one())


@pytest.mark.matrix
def test_requests_and_callbacks_are_sent(shop: Shop, receiver: Receiver) -> None:
    path = f"/{shop.new_file().name}"
    for number in range(3):  # over a connection that is kept
        request = shop.jobs.enqueue_http(
            receiver.url(path), payload={"number": number}, callback_url=receiver.url(f"{path}/back")
        )
        shop.jobs.wait(request.id, 40)
    assert sorted(received.json["number"] for received in receiver.wait_for(path, 3)) == [0, 1, 2]
    told = receiver.wait_for(f"{path}/back", 3, process=shop.worker)
    assert [json.loads(callback.body)["status"] for callback in told] == ["success"] * 3


def test_a_job_past_its_hard_limit_is_retried_and_what_still_runs_changes_nothing(shop: Shop) -> None:
    gate = shop.new_file()
    result = shop.enqueue("hangs_at_first", str(gate))
    (first, *_) = shop.wait(result, lambda rows: rows[0].status == "failed")
    assert (first.failure_reason, first.error_type) == ("timeout", "TimeLimitExceeded")
    gate.touch()  # a pool that cannot stop it needs its place
    assert result.get(timeout=40) == "attempt 2"
    rows = shop.ended(result)
    assert [(row.status, row.losses) for row in rows] == [("failed", 0), ("completed", 0)]


@pytest.mark.parametrize("way", [pytest.param("revoke", marks=pytest.mark.matrix), "cancel"])
def test_a_running_job_that_is_to_be_killed_ends_where_the_pool_can_stop_it(shop: Shop, way: str) -> None:
    gate = shop.new_file()
    result = shop.enqueue("waits_for", str(gate), str(shop.new_file()), "stopped")
    shop.wait(result, lambda rows: rows[0].status == "processing")
    if way == "revoke":
        shop.app.control.revoke(result.id, terminate=True)
    else:
        shop.jobs.cancel(result.id, terminate=True)
    if shop.pool in CANNOT_STOP:
        gate.touch()
        (job,) = shop.ended(result)
        assert (job.status, job.final_status) == ("completed", "success")
        return
    (job,) = shop.ended(result)
    assert (job.status, job.final_status) == ("cancelled", "cancelled")
    wait_until(lambda: result.state == "REVOKED", 10, lambda: f"the caller sees {result.state}", shop.worker)


@pytest.mark.matrix
def test_a_task_that_exits_takes_no_worker_with_it_and_runs_again(shop: Shop) -> None:
    result = shop.enqueue("exits_at_first", str(shop.new_file()))
    assert result.get(timeout=40) == "stayed"
    (job,) = shop.ended(result)
    assert (job.attempt_number, job.losses) == (1, 1)
    assert shop.worker.process.poll() is None
