"""Alerts from real workers to a real receiver, through Apprise's service for plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.settings import ALERT_LEASE
from celery_jobs.store import alerts
from tests.processes import wait_until
from tests.servers.databases import BOTH
from tests.store.conftest import shift

if TYPE_CHECKING:
    from tests.callbacks.conftest import Shop
    from tests.callbacks.receiver import Received, Receiver

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", BOTH, indirect=True)]

ENABLED: dict[str, Any] = {"jobs_queue_defaults": {"alerts_enabled": True, "retry_delays": [0.1]}}


def url(receiver: Receiver, path: str = "/all") -> str:
    return f"json://127.0.0.1:{receiver.port}{path}"


def letter(request: Received) -> tuple[str, str]:
    told: dict[str, Any] = request.json
    assert told["type"] == "failure"
    return told["title"], told["message"]


@pytest.mark.parametrize(
    "pool", ["prefork", *(pytest.param(pool, marks=pytest.mark.matrix) for pool in ("threads", "solo"))]
)
def test_the_first_death_is_told_at_once_and_those_that_follow_together(
    shop: Shop, receiver: Receiver, pool: str
) -> None:
    # Nothing but the failure itself makes the worker look.
    worker = shop.start_worker(
        pool=pool,
        jobs_alert_urls=[url(receiver)],
        jobs_alert_window=3600,
        jobs_heartbeat_interval=1000,
        jobs_worker_timeout=2000,
        **ENABLED,
    )
    dead = shop.enqueue("fails")
    (first,) = receiver.wait_for("/all", 1, process=worker)
    title, body = letter(first)
    assert title == "1 job died in the queue celery"
    assert f"fails: the job {dead}\n    ValueError: always\n" in body
    assert "Within the last hour 1 job died in this queue." in body
    assert f"jobs replay {dead}" in body
    wait_until(lambda: shop.jobs.get(dead).alerted_at, process=worker)
    for job_id in [shop.enqueue("fails") for _ in range(5)]:
        assert shop.jobs.wait(job_id, 40).final_status == "dead_lettered"
    shift(shop.db, 3601)
    last = shop.enqueue("fails")
    shop.jobs.wait(last, 40)
    _, second = receiver.wait_for("/all", 2, process=worker)
    title, _ = letter(second)
    # What had rung for the five may look once more before the last one dies, which is then of the next window.
    assert title in ("5 jobs died in the queue celery", "6 jobs died in the queue celery")
    assert worker.stop() == 0
    assert len(receiver.received) == 2


@pytest.mark.matrix
def test_each_queue_has_its_own_destinations_and_its_own_switch(shop: Shop, receiver: Receiver) -> None:
    queues = {"loud": {"alerts_enabled": True}, "own": {"alerts_enabled": True}, "quiet": {}}
    worker = shop.start_worker(
        queues=tuple(queues),
        jobs_queues={name: {**queue, "max_attempts": 1} for name, queue in queues.items()},
        jobs_alert_urls={"own": [url(receiver, "/own"), url(receiver, "/two")], "*": [url(receiver)]},
    )
    jobs = {queue: shop.enqueue("fails", queue=queue) for queue in queues}
    for path, queue in (("/own", "own"), ("/two", "own"), ("/all", "loud")):
        (told,) = receiver.wait_for(path, 1, process=worker)
        assert letter(told)[0] == f"1 job died in the queue {queue}"
    assert shop.jobs.wait(jobs["quiet"], 40).alerted_at is None
    assert worker.stop() == 0
    assert len(receiver.received) == 3


@pytest.mark.matrix
def test_a_service_that_fails_touches_no_job_and_the_alert_is_sent_again(shop: Shop, receiver: Receiver) -> None:
    receiver.answers["/all"] = [500, 200]
    worker = shop.start_worker(jobs_alert_urls=[url(receiver)], **ENABLED)
    dead = shop.enqueue("fails")
    assert shop.jobs.wait(dead, 40).final_status == "dead_lettered"
    receiver.wait_for("/all", 1, process=worker)
    wait_until(lambda: "an alert of the queue celery failed" in worker.tail(), process=worker)
    assert alerts.failing(shop.db, 1) == [("celery", 1)]
    shift(shop.db, 31)
    _, again = receiver.wait_for("/all", 2, process=worker)
    assert dead in letter(again)[1]
    wait_until(lambda: not alerts.failing(shop.db, 1), process=worker)


@pytest.mark.matrix
def test_whoever_was_reached_is_not_told_twice_for_who_was_not(shop: Shop, receiver: Receiver) -> None:
    receiver.answers["/broken"] = [500]
    worker = shop.start_worker(jobs_alert_urls=[url(receiver, "/broken"), url(receiver)], **ENABLED)
    shop.enqueue("fails")
    receiver.wait_for("/all", 1, process=worker)
    wait_until(lambda: "an alert of the queue celery failed" in worker.tail(), process=worker)
    assert alerts.failing(shop.db, 1) == []


def test_an_alert_outlives_the_worker_that_was_sending_it(shop: Shop, receiver: Receiver) -> None:
    receiver.slow["/all"] = 30
    settings: dict[str, Any] = {"jobs_alert_urls": [url(receiver) + "?rto=40"], **ENABLED}
    worker = shop.start_worker(**settings)
    dead = shop.enqueue("fails")
    receiver.wait_for("/all", 1, process=worker)
    worker.kill()
    receiver.slow.clear()
    shift(shop.db, ALERT_LEASE + 1)
    worker = shop.start_worker(**settings)
    _, again = receiver.wait_for("/all", 2, process=worker)
    assert dead in letter(again)[1]


def test_a_worker_does_not_start_with_a_destination_that_apprise_cannot_read(shop: Shop, receiver: Receiver) -> None:
    with pytest.raises(AssertionError, match="ended with exit code 1") as refused:
        shop.start_worker(jobs_alert_urls=["nonsense://token@host"])
    assert "jobs_alert_urls: nonsense://***: Apprise cannot read this" in str(refused.value)
    assert "token" not in str(refused.value)
