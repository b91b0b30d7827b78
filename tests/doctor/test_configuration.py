"""What the doctor finds in an app's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.app.task import Task

from tests.doctor.conftest import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.plugin import Plugin


@pytest.mark.parametrize(
    ("accepted", "found"),
    [(["json"], 0), (["json", "pickle"], 1), (["application/x-python-serialize"], 1), (["yaml", "msgpack"], 0)],
)
def test_pickle_among_what_workers_accept(make: Callable[..., Plugin], accepted: list[str], found: int) -> None:
    assert [finding.severity for finding in ask(make(accept_content=accepted), "pickle-accepted")] == ["error"] * found


@pytest.mark.parametrize(
    ("broker_url", "options", "found"),
    [
        ("amqp://", {"confirm_publish": False}, 1),
        ("amqp://", {"confirm_publish": True}, 0),
        ("amqp://", {}, 0),
        ("redis://", {"confirm_publish": False}, 0),
    ],
)
def test_confirms_that_the_app_forbids(
    make: Callable[..., Plugin], broker_url: str, options: dict[str, Any], found: int
) -> None:
    plugin = make(broker_url, broker_transport_options=options)
    assert len(ask(plugin, "confirms-off")) == found


@pytest.mark.parametrize(
    ("broker_url", "conf", "found"),
    [
        ("redis://8.8.8.8/0", {}, ["8.8.8.8"]),
        ("amqp://shop:secret@8.8.8.8//", {}, ["8.8.8.8"]),
        ("redis://10.0.0.1/0;redis://8.8.4.4/0", {}, ["8.8.4.4"]),
        ("rediss://8.8.8.8/0", {}, []),
        ("amqps://8.8.8.8//", {}, []),
        ("amqp://8.8.8.8//", {"broker_use_ssl": True}, []),
        ("redis://localhost/0", {}, []),
        ("redis://192.168.1.2/0", {}, []),
        ("redis://[::1]/0", {}, []),
        ("redis+socket:///run/redis.sock", {}, []),
        ("redis://no-such-host.invalid/0", {}, []),
        ("memory://", {}, []),
    ],
)
def test_a_broker_elsewhere_without_tls(
    make: Callable[..., Plugin], broker_url: str, conf: dict[str, Any], found: list[str]
) -> None:
    words = [finding.words for finding in ask(make(broker_url, **conf), "broker-without-tls")]
    assert [host for host in ("8.8.8.8", "8.8.4.4") if any(host in said for said in words)] == found
    assert "secret" not in "".join(words)


OFF = {"retries_enabled": False}


@pytest.mark.parametrize(
    ("defaults", "queues", "found"),
    [(OFF, {}, 1), (OFF, {"mail": OFF}, 1), (OFF, {"mail": {"retries_enabled": True}}, 0), ({}, {"mail": OFF}, 0)],
)
def test_retries_that_are_off_everywhere(
    make: Callable[..., Plugin], defaults: dict[str, Any], queues: dict[str, Any], found: int
) -> None:
    plugin = make(jobs_queue_defaults=defaults, jobs_queues=queues)
    assert [finding.severity for finding in ask(plugin, "retries-off")] == ["info"] * found


def nothing() -> None: ...


def test_tasks_that_are_no_jobs_are_listed(make: Callable[..., Plugin]) -> None:
    plugin = make()
    plugin.app.task(name="job", shared=False)(nothing)
    assert ask(plugin, "tasks-without-jobs") == []
    for number in range(12):
        plugin.app.task(name=f"plain.{number:02}", base=Task, shared=False)(nothing)
    (finding,) = ask(plugin, "tasks-without-jobs")
    assert finding.severity == "info"
    assert "plain.00, plain.01" in finding.words
    assert finding.words.endswith("plain.09 and 2 more")


ON = {"alerts_enabled": True}


@pytest.mark.parametrize(
    ("defaults", "queues", "urls", "found"),
    [
        (ON, {}, [], 1),
        (ON, {}, ["json://localhost"], 0),
        ({}, {"mail": ON}, {"other": ["json://localhost"]}, 1),
        ({}, {"mail": ON}, {"mail": ["json://localhost"]}, 0),
        ({}, {}, [], 0),
    ],
)
def test_alerts_without_a_destination(
    make: Callable[..., Plugin], defaults: dict[str, Any], queues: dict[str, Any], urls: Any, found: int
) -> None:
    plugin = make(jobs_queue_defaults=defaults, jobs_queues=queues, jobs_alert_urls=urls)
    assert [finding.severity for finding in ask(plugin, "alerts-nowhere")] == ["warning"] * found
