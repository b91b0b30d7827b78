"""RabbitMQ has nowhere to put a message, or never says that it took it: the job is sent again, and runs once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection
from sqlalchemy import update

from celery_jobs.plugin import plugin_of
from celery_jobs.queue_depth import queue_depth
from celery_jobs.store import invariants
from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs
from tests.chaos.proxy import Proxy
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Iterator
    from pathlib import Path

    from kombu.transport.virtual import Channel

    from tests.processes import Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("rabbitmq"),
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]


MOST_SECONDS = 3.0


class Leak(Proxy):
    """A proxy that can lose what passes, with all its connections up."""

    loses = False

    async def _pump(self, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.loses:
                writer.write(data)
                await writer.drain()


@pytest.fixture
def channel(rabbitmq: str) -> Iterator[Channel]:
    """A channel of the test's own, to a broker without a queue of ours; none is left behind either."""
    _delete_queues(rabbitmq)
    with Connection(rabbitmq) as connection:
        yield connection.default_channel
    _delete_queues(rabbitmq)


def _delete_queues(url: str) -> None:
    with Connection(url) as connection:
        for queue in ("celery", "celery-jobs"):
            connection.default_channel.queue_delete(queue)


@pytest.fixture
def yard(rabbitmq: str, channel: Channel, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    quick = {f"jobs_{name}": 0.4 for name in ("redispatch_after", "redispatch_interval", "promote_interval")}
    with Yard(rabbitmq, database_url, tmp_path, **quick) as yard:
        yield yard
        assert invariants.check(yard.db) == []


@pytest.fixture
def proxy(rabbitmq: str) -> Iterator[Proxy]:
    with Proxy(port_of(rabbitmq)) as proxy:
        yield proxy


def port_of(url: str) -> int:
    return int(Connection(url).port)


def url_of(proxy: Proxy) -> str:
    return f"amqp://guest:guest@127.0.0.1:{proxy.port}//"


def is_marked_sent(yard: Yard, job_id: str) -> bool:
    return yard.attempts(job_id)[0].sent_at is not None


def runs_once(yard: Yard, *ids: str) -> Worker:
    """Start a worker, which has to run each of the jobs once."""
    worker = yard.worker()
    for job_id in ids:
        (row,) = yard.ended(job_id, worker, 20)
        assert row.final_status == "success"
    yard.await_turn("redispatcher")
    wait_until(lambda: depth(yard) == 0, process=worker)
    assert sorted(yard.noted()) == [f"job-{number}" for number in range(len(ids))]
    return worker


def depth(yard: Yard) -> int | None:
    return queue_depth(plugin_of(yard.app), "celery")


def note(yard: Yard, number: int, **options: Any) -> str:
    return yard.send("note", str(yard.notes), f"job-{number}", **options)


def test_a_queue_that_is_deleted_under_its_producer_loses_no_job(yard: Yard, channel: Channel) -> None:
    first = note(yard, 0)
    channel.queue_delete("celery")
    second = note(yard, 1)  # kombu has declared the queue once, and trusts that it is there
    assert depth(yard) == 0
    assert is_marked_sent(yard, first)
    assert is_marked_sent(yard, second)
    runs_once(yard, first, second)


def test_an_exchange_that_leads_nowhere_loses_no_job(yard: Yard, channel: Channel) -> None:
    way = {"exchange": "celery", "routing_key": "celery"}
    yard.app.amqp.queues["celery"](channel).declare()
    first = note(yard, 0, **way)
    channel.queue_unbind("celery", exchange="celery", routing_key="celery")
    second = note(yard, 1, **way)
    assert depth(yard) == 1
    assert is_marked_sent(yard, second)
    runs_once(yard, first, second)


def test_a_rabbitmq_that_freezes_under_an_open_connection_costs_an_enqueue_3_s_at_most(
    yard: Yard, proxy: Proxy
) -> None:
    caller = yard.caller(url_of(proxy))
    first = note(yard, 0, caller=caller)
    with proxy.frozen():
        begun = time.monotonic()
        second = note(yard, 1, caller=caller)
        assert time.monotonic() - begun < MOST_SECONDS
        assert not is_marked_sent(yard, second)
    runs_once(yard, first, second)


def test_a_publish_that_is_not_confirmed_in_time_is_sent_again_and_runs_once_though_both_arrive(
    yard: Yard, proxy: Proxy
) -> None:
    caller = yard.caller(url_of(proxy))
    first = note(yard, 0, caller=caller, ignore_result=True)
    with proxy.frozen():
        begun = time.monotonic()
        second = note(yard, 1, caller=caller, ignore_result=True)
        assert time.monotonic() - begun < MOST_SECONDS
        assert not is_marked_sent(yard, second)
    wait_until(lambda: depth(yard) == 2, message="what was on its way did not arrive")
    worker = runs_once(yard, first, second)
    assert "was dropped: taken" in worker.log


def test_a_publish_that_nobody_confirms_and_that_is_lost_is_sent_again(yard: Yard, rabbitmq: str) -> None:
    with Leak(port_of(rabbitmq)) as leak:
        caller = yard.caller(url_of(leak), broker_transport_options={"confirm_publish": False})
        first = note(yard, 0, caller=caller, ignore_result=True)
        wait_until(lambda: depth(yard) == 1)
        leak.loses = True
        second = note(yard, 1, caller=caller, ignore_result=True)
    assert depth(yard) == 1
    assert is_marked_sent(yard, second)
    runs_once(yard, first, second)


def test_a_job_whose_exchange_does_not_exist_holds_up_no_other(yard: Yard) -> None:
    hopeless = note(yard, 9, exchange="missing", routing_key="celery")
    assert not is_marked_sent(yard, hopeless)
    beside = note(yard, 0)
    assert is_marked_sent(yard, beside)
    later = note(yard, 1, delay=61)
    with yard.db.transaction() as connection:
        connection.execute(update(jobs).where(jobs.c.id == later).values(scheduled_at=now()))
    runs_once(yard, beside, later)
    assert yard.attempts(hopeless)[0].status == "pending"
