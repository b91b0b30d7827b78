"""RabbitMQ's quorum queues: what is due soon waits in the broker as Celery has it, what is due later in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.queue_depth import queue_depth
from celery_jobs.store import invariants
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.processes import Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.matrix,
    pytest.mark.xdist_group("rabbitmq"),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

QUEUE, SERVICES = "quorum-orders", "quorum-services"
DELIVERIES = 2
"""How often RabbitMQ delivers a message that comes back, before it drops it."""

QUORUM = {
    "task_queues": {
        QUEUE: {
            "exchange": "quorum-shop",
            "exchange_type": "topic",  # over a direct one Celery does not have a message held
            "routing_key": "order.new",
            "queue_arguments": {"x-queue-type": "quorum", "x-delivery-limit": DELIVERIES},
        }
    },
    "task_default_queue": QUEUE,
    "jobs_service_queue": SERVICES,
    "jobs_redispatch_after": 0.4,
    "jobs_redispatch_interval": 0.4,
}

LONG = 45
"""Seconds of a wait that begins in the queue of level 5: 32, and 8, 4 and 1 come after it."""
LEVEL = "celery_delayed_5"


@pytest.fixture
def yard(rabbitmq: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    with Connection(rabbitmq) as connection:
        channel = connection.default_channel
        with Yard(
            rabbitmq, database_url, tmp_path, jobs_queue_defaults={"retry_delays": [0.2, LONG]}, **QUORUM
        ) as yard:
            yard.app.amqp.queues[QUEUE](channel).declare()  # kombu has declared it once, and trusts that it is there
            yield yard
            assert invariants.check(yard.db) == []
        for queue in (QUEUE, SERVICES, *(f"celery_delayed_{level}" for level in range(28))):
            channel.queue_delete(queue)


def depth(yard: Yard, queue: str) -> int | None:
    return queue_depth(plugin_of(yard.app), queue)


def note(yard: Yard, name: str, **options: Any) -> str:
    return yard.send("note", str(yard.notes), name, **options)


def succeeds(yard: Yard, worker: Worker, job_id: str, attempts: int = 1) -> None:
    rows = yard.ended(job_id, worker)
    assert (rows[0].queue, rows[0].final_status, len(rows)) == (QUEUE, "success", attempts)
    assert all(row.started_at is not None and row.started_at >= row.scheduled_at for row in rows)


def test_a_short_countdown_waits_in_the_broker_and_a_long_one_in_sql(yard: Yard) -> None:
    worker = yard.worker()
    soon, later, far = (note(yard, str(delay), countdown=delay) for delay in (1, LONG, 3600))
    wait_until(lambda: depth(yard, LEVEL) == 1)
    sent = [yard.attempts(job_id)[0].sent_at is not None for job_id in (soon, later, far)]
    assert sent == [True, True, False]
    succeeds(yard, worker, soon)
    for job_id in (later, far):  # sent again, what they had to wait at first is over
        Jobs(yard.app).fire(job_id)
        succeeds(yard, worker, job_id)
    assert Jobs(yard.app).cancel(note(yard, "cancelled", countdown=3600)).final_status == "cancelled"
    assert worker.log.count(" received") == 3


def test_a_retry_by_policy_waits_in_the_broker_too(yard: Yard) -> None:
    gate = yard.folder / "gate"
    gate.touch()
    worker = yard.worker()
    job_id = yard.send("third_time", str(yard.notes), str(gate), countdown=1)
    wait_until(lambda: len(yard.attempts(job_id)) == 3, process=worker)
    wait_until(lambda: depth(yard, LEVEL) == 1, process=worker)
    Jobs(yard.app).fire(job_id)
    succeeds(yard, worker, job_id, attempts=3)


def test_a_task_that_asks_for_retries_stays_in_its_queue(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.send("asks_again", "4", countdown=1)
    succeeds(yard, worker, job_id, attempts=4)
    assert {row.queue for row in yard.attempts(job_id)} == {QUEUE}


def test_a_message_that_was_delivered_too_often_and_dropped_is_sent_again(yard: Yard, rabbitmq: str) -> None:
    job_id = note(yard, "dropped")
    with Connection(rabbitmq) as connection:
        for _ in range(DELIVERIES + 1):
            message = wait_until(lambda: connection.default_channel.basic_get(QUEUE))
            message.channel.basic_reject(message.delivery_tag, requeue=True)
        wait_until(lambda: depth(yard, QUEUE) == 0)
    assert yard.attempts(job_id)[0].status == "pending"
    worker = yard.worker()
    succeeds(yard, worker, job_id)
    assert yard.attempts(job_id)[0].send_count == 2


def test_a_job_whose_retries_are_used_up_is_a_dead_letter(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.send("third_time", str(yard.notes), "", retry_delays=[0.1])
    rows = yard.ended(job_id, worker)
    assert [row.final_status for row in rows] == ["dead_lettered", "failed_with_retries"]
