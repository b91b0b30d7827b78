"""The promoter: what is held in SQL goes out when it falls due, once, and as its caller sent it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from redis import Redis

from celery_jobs import Jobs
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.store.db import now
from celery_jobs.store.tables import queues
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service

Services = "Callable[[str], Service]"


def received(broker_url: str) -> list[dict[str, Any]]:
    with Redis.from_url(broker_url) as client:
        lists = ["celery", *(f"celery\x06\x16{level}" for level in (3, 6, 9))]
        return [json.loads(item) for name in lists for item in client.lrange(name, 0, -1)]


def test_a_held_job_goes_out_when_it_falls_due_within_75_s(
    app: Celery, service: Callable[[str], Service], depth: Callable[[], int], later: Callable[[float], None]
) -> None:
    app.tasks["services.add"].apply_async((1,), delay=600)
    assert service("promoter").run_once() == 0
    later(520)  # 80 s to go
    assert service("promoter").run_once() == 0
    later(10)  # 70 s to go
    assert service("promoter").run_once() == 1
    assert depth() == 1
    assert service("promoter").run_once() == 0


def test_what_goes_out_later_is_what_its_caller_sent(
    app: Celery, service: Callable[[str], Service], broker_url: str, later: Callable[[float], None]
) -> None:
    """The same call on an app without the plugin says what the message has to be."""
    add = app.tasks["services.add"]
    options: dict[str, Any] = {
        "task_id": "mine",
        "headers": {"traceparent": "00-1-2-01"},
        "link": add.s(5),
        "link_error": add.si(6),
        "time_limit": 9,
        "soft_time_limit": 7,
        "priority": 3,
        "shadow": "another name",
        "root_id": "root",
        "parent_id": "parent",
        "group_id": "group",
        "group_index": 2,
        "compression": "zlib",
        "serializer": "json",
        "reply_to": "me",
        "ignore_result": True,
    }
    plain = make_app(broker_url, "sqlite:///unused", install=False)
    plain.send_task("services.add", (1,), {"y": 2}, **options)
    (expected,) = received(broker_url)
    with Redis.from_url(broker_url) as client:
        client.flushdb()
    app.send_task("services.add", (1,), {"y": 2}, countdown=600, **options)
    later(600)
    assert service("promoter").run_once() == 1
    (message,) = received(broker_url)

    job_id = message["headers"].pop(JOB_HEADER)
    assert Jobs(app).get("mine").id == job_id
    for varying in ("origin",):
        message["headers"].pop(varying)
        expected["headers"].pop(varying)
    assert message["headers"] == expected["headers"]
    assert message["body"] == expected["body"]
    for varying in ("delivery_tag",):
        message["properties"].pop(varying)
        expected["properties"].pop(varying)
    assert message["properties"] == expected["properties"]
    plain.close()


def test_the_time_to_live_of_a_promoted_job_is_what_remains_of_its_expiry(
    app: Celery, service: Callable[[str], Service], broker_url: str, later: Callable[[float], None]
) -> None:
    app.tasks["services.add"].apply_async((1,), countdown=61, expires=600)
    service("promoter").run_once()
    (message,) = received(broker_url)
    assert 590_000 < int(message["properties"]["expiration"]) <= 600_000


def test_at_most_one_batch_a_queue_goes_out_ahead_of_its_time(
    app: Celery, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    for n in range(25):
        app.tasks["services.add"].apply_async((n,), delay=70)
    assert service("promoter").run_once() == 10
    later(70)
    assert service("promoter").run_once() == 15


def test_two_promoters_at_once_send_each_job_once(
    app: Celery, service: Callable[[str], Service], depth: Callable[[], int], later: Callable[[float], None]
) -> None:
    for n in range(60):
        app.tasks["services.add"].apply_async((n,), delay=600)
    later(600)
    threads = [threading.Thread(target=service("promoter").run_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service("promoter").run_once()
    assert depth() == 60


def test_a_paused_queue_is_not_promoted(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    app.tasks["services.add"].apply_async((1,), delay=600)
    plugin.db.run(lambda connection: connection.execute(queues.insert().values(name="celery", paused_at=now())))
    later(600)
    assert service("promoter").run_once() == 0
    plugin.db.run(lambda connection: connection.execute(queues.delete()))
    assert service("promoter").run_once() == 1


def test_turns_are_taken_once_an_interval(service: Callable[[str], Service], later: Callable[[float], None]) -> None:
    assert service("promoter").tick() == 0
    assert service("promoter").tick() is None
    later(60)
    assert service("promoter").run_if_overdue() is None  # beat has a quarter of the interval to be late
    later(16)
    assert service("promoter").run_if_overdue() == 0
