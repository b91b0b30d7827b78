"""Messages are lost, doubled and late: each attempt runs once, and what was called off stays called off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.store import invariants
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.processes import Worker

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

REPAIR = {"jobs_redispatch_after": 0.4, "jobs_redispatch_interval": 0.4}
"""Settings of a worker that soon takes a message for lost."""

LISTS = ["celery", *(f"celery\x06\x16{level}" for level in (3, 6, 9))]
"""Where Redis has the messages of the queue `celery`, by priority."""


@pytest.fixture
def yard(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    with Yard(broker_url, database_url, tmp_path) as yard:
        yield yard
        assert invariants.check(yard.db) == []


@pytest.fixture
def broker(broker_url: str) -> Iterator[Redis]:
    with Redis.from_url(broker_url) as client:
        yield client


def held(broker: Redis) -> list[bytes]:
    """The messages that wait in the broker."""
    found: list[Any] = [broker.lrange(name, 0, -1) for name in LISTS]
    return [message for messages in found for message in messages]


def deliver(broker: Redis, message: bytes, copies: int = 10) -> None:
    """Have a message in the broker so many times more, as one of normal priority."""
    broker.lpush(LISTS[2], *[message] * copies)


def all_taken(broker: Redis) -> bool:
    """Whether workers have taken and acknowledged whatever there was."""
    return not held(broker) and broker.hlen("unacked") == 0


def drops(*workers: Worker) -> int:
    """How many messages have run nothing."""
    return sum(worker.log.count("was dropped: taken") for worker in workers)


def test_ten_copies_of_a_message_start_the_body_once_on_two_workers(yard: Yard, broker: Redis) -> None:
    job_id = yard.send("note", str(yard.notes), "once")
    (message,) = held(broker)
    deliver(broker, message, 9)
    workers = yard.worker("-c", "2"), yard.worker("-c", "2")
    (row,) = yard.ended(job_id)
    wait_until(lambda: all_taken(broker) and drops(*workers) == 9, process=workers[0])
    assert yard.noted() == ["once"]
    assert (row.status, row.attempt_number) == ("completed", 1)


@pytest.mark.matrix
def test_ten_copies_between_at_and_after_later_attempts_run_nothing_again(
    yard: Yard, broker: Redis, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_id = yard.send("third_time", str(yard.notes), str(gate), retry_delays=[1, 1])
    (first,) = held(broker)
    workers = yard.worker("-c", "2"), yard.worker("-c", "2")
    wait_until(lambda: len(yard.attempts(job_id)) >= 2, process=workers[0])
    deliver(broker, first)
    wait_until(lambda: [row.status for row in yard.attempts(job_id)][2:] == ["processing"], process=workers[0])
    deliver(broker, first)
    wait_until(lambda: drops(*workers) == 20, process=workers[0])
    gate.touch()
    yard.ended(job_id)
    deliver(broker, first)
    wait_until(lambda: all_taken(broker) and drops(*workers) == 30, process=workers[0])
    assert yard.noted() == ["0", "1", "2"]
    assert len(yard.attempts(job_id)) == 3


def test_a_message_that_was_lost_is_sent_again_and_runs_nothing_when_it_turns_up_late(
    yard: Yard, broker: Redis
) -> None:
    job_id = yard.send("flaky", str(yard.notes), "body")
    (late,) = held(broker)
    broker.flushdb()
    worker = yard.worker(**REPAIR)
    first, second = yard.ended(job_id, worker)
    assert (first.send_count, second.status, first.resolved_by) == (2, "completed", second.id)
    deliver(broker, late, 1)
    wait_until(lambda: all_taken(broker) and drops(worker) == 1, process=worker)
    assert yard.noted() == ["body", "body"]
    assert len(yard.attempts(job_id)) == 2


@pytest.mark.matrix
def test_a_backlog_never_holds_more_messages_than_there_are_jobs(yard: Yard, broker: Redis, tmp_path: Path) -> None:
    """What a worker has fetched and not begun looks like lost: so much is sent again, and no more."""
    gate = tmp_path / "gate"
    ids = [yard.send("wait_for_file", str(gate), str(yard.notes), str(number)) for number in range(30)]
    worker = yard.worker("-c", "1", **REPAIR)
    wait_until(yard.noted, process=worker)
    most = 0
    for _ in range(3):
        yard.await_turn("redispatcher")
        most = max(most, len(held(broker)))
    assert 20 < most <= len(ids)
    gate.touch()
    for job_id in ids:
        yard.ended(job_id, worker, 30)
    wait_until(lambda: all_taken(broker), process=worker)
    assert sorted(yard.noted(), key=int) == [str(number) for number in range(30)]


def test_what_was_called_off_while_no_worker_ran_never_runs(yard: Yard, broker: Redis) -> None:
    purged = yard.send("note", str(yard.notes), "p")
    messages = held(broker)
    assert yard.app.control.purge() == 1
    revoked, cancelled, wanted = (yard.send("note", str(yard.notes), text) for text in ("r", "c", "wanted"))
    messages += held(broker)
    yard.app.control.revoke(revoked)
    Jobs(yard.app).cancel(cancelled)
    for _ in range(2):
        worker = yard.worker(**REPAIR)
        yard.ended(wanted, worker)
        wait_until(lambda: all_taken(broker), process=worker)
        yard.await_turn("redispatcher")
        worker.kill()
        for message in messages:  # as from a broker that has not heard of the acknowledgement
            deliver(broker, message, 1)
    assert yard.noted() == ["wanted"]
    called_off = [yard.attempts(job_id)[0] for job_id in (purged, revoked, cancelled)]
    assert {(row.final_status, row.started_at) for row in called_off} == {("cancelled", None)}


@pytest.mark.matrix
def test_what_was_called_off_before_a_worker_was_killed_never_runs_on_its_successor(
    yard: Yard, broker: Redis, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    busy = yard.send("wait_for_file", str(gate), str(yard.notes), "busy")
    revoked, cancelled = (yard.send("note", str(yard.notes), text) for text in ("r", "c"))
    messages = held(broker)[:2]  # the oldest is the last
    first = yard.worker("-c", "1")
    wait_until(yard.noted, process=first)
    yard.app.control.revoke(revoked)
    Jobs(yard.app).cancel(cancelled)
    first.kill()
    for message in messages:
        deliver(broker, message, 1)
    gate.touch()
    second = yard.worker("-c", "1", **REPAIR)
    wanted = yard.send("note", str(yard.notes), "wanted")
    for job_id in (busy, wanted):
        yard.ended(job_id, second)
    wait_until(lambda: not held(broker), process=second)
    yard.await_turn("redispatcher")
    assert set(yard.noted()) == {"busy", "wanted"}
    assert {yard.attempts(job_id)[0].final_status for job_id in (revoked, cancelled)} == {"cancelled"}
