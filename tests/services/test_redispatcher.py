"""The redispatcher: lost messages are sent again, a deep queue is not doubled, the expired ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery.exceptions import TaskRevokedError
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.store import workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service


@pytest.fixture(autouse=True)
def worker(plugin: Plugin, app: Celery) -> str:
    """A living worker of ours that serves the queue."""
    return workers.register(plugin.db, "worker@here", 1, ["celery"])


def flush(broker_url: str) -> None:
    with Redis.from_url(broker_url) as client:
        client.flushdb()


def test_lost_messages_are_sent_again_after_120_s(
    app: Celery,
    service: Callable[[str], Service],
    depth: Callable[[], int],
    later: Callable[[float], None],
    broker_url: str,
) -> None:
    for n in range(5):
        app.tasks["services.add"].delay(n)
    flush(broker_url)
    later(100)
    assert service("redispatcher").run_once() == 0
    later(30)
    assert service("redispatcher").run_once() == 5
    assert depth() == 5


def test_a_deep_queue_is_not_doubled(
    app: Celery, service: Callable[[str], Service], depth: Callable[[], int], later: Callable[[float], None]
) -> None:
    for n in range(5):
        app.tasks["services.add"].delay(n)
    later(10_000)
    assert service("redispatcher").run_once() == 0
    assert depth() == 5


def test_only_as_many_are_sent_again_as_the_broker_lacks(
    app: Celery,
    service: Callable[[str], Service],
    depth: Callable[[], int],
    later: Callable[[float], None],
    broker_url: str,
) -> None:
    for n in range(5):
        app.tasks["services.add"].delay(n)
    with Redis.from_url(broker_url) as client:
        client.lpop("celery\x06\x166", 2)
    later(130)
    assert service("redispatcher").run_once() == 2
    assert depth() == 5


def test_the_wait_doubles_with_each_send(
    app: Celery, service: Callable[[str], Service], later: Callable[[float], None], broker_url: str
) -> None:
    app.tasks["services.add"].delay(1)
    waits = []
    for _ in range(4):
        flush(broker_url)
        waited = 0
        while service("redispatcher").run_once() == 0:
            later(30)
            waited += 30
        waits.append(waited)
    assert waits == [120, 240, 480, 900]


def test_a_queue_that_no_worker_of_ours_serves_is_left_alone(
    app: Celery, service: Callable[[str], Service], later: Callable[[float], None], broker_url: str
) -> None:
    app.tasks["services.add"].apply_async((1,), queue="elsewhere")
    flush(broker_url)
    later(1000)
    assert service("redispatcher").run_once() == 0


def test_what_expired_unclaimed_is_cancelled_and_its_caller_told(
    app: Celery, service: Callable[[str], Service], later: Callable[[float], None], broker_url: str
) -> None:
    result = app.tasks["services.add"].apply_async((1,), expires=60)
    flush(broker_url)
    later(61)
    assert service("redispatcher").run_once() == 1
    run = Jobs(app).get(result.id)
    assert (run.status, run.final_status, run.failure_reason) == ("cancelled", "cancelled", "expired")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)


def test_a_verdict_that_celery_did_not_hear_is_told_again(
    app: Celery, plugin: Plugin, service: Callable[[str], Service]
) -> None:
    from celery_jobs.store import endings

    result = app.tasks["services.add"].apply_async((1,), delay=600)
    assert endings.cancel(plugin.db, result.job_id)  # the process ends before it can tell
    assert result.state == "PENDING"
    assert service("redispatcher").run_once() == 1
    assert result.state == "REVOKED"
    assert service("redispatcher").run_once() == 0
