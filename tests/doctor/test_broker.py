"""What the doctor finds at the broker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs import doctor
from celery_jobs.demo.valkey import ValkeyUnavailable, free_port, start_valkey
from tests.doctor.conftest import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.plugin import Plugin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose settings a test may change."""
    try:
        started = start_valkey(tmp_path_factory.mktemp("doctor"))
    except ValkeyUnavailable as error:
        pytest.skip(str(error))
    with started:
        yield started.url


@pytest.fixture
def configure(server: str) -> Iterator[Callable[..., None]]:
    """Changes the server's settings, until the test's end."""
    client: Any = Redis.from_url(server, decode_responses=True)
    with client:
        before = client.config_get("maxmemory-policy", "save", "appendonly")

        def change(**settings: str) -> None:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), value)

        yield change
        client.execute_command("ACL", "SETUSER", "default", "+@all")
        for name, value in before.items():
            client.config_set(name, value)


@pytest.fixture
def plugin(make: Callable[..., Plugin], server: str) -> Plugin:
    return make(server)


def test_a_broker_that_does_not_answer(make: Callable[..., Plugin], plugin: Plugin) -> None:
    assert ask(plugin, "broker-away") == []
    gone = make(f"redis://:secret@127.0.0.1:{free_port()}/0")
    began = time.monotonic()
    (finding,) = ask(gone, "broker-away")
    assert time.monotonic() - began < 3
    assert finding.severity == "error"
    assert "127.0.0.1" in finding.words
    assert "secret" not in finding.words


def test_where_the_broker_is_away_nothing_more_is_asked_of_it(make: Callable[..., Plugin]) -> None:
    gone = make(f"amqp://127.0.0.1:{free_port()}//")
    names = [finding.check for finding in doctor.examine(gone)]
    assert [name for name in names if name.startswith("broker")] == ["broker-away"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_broker_that_throws_away(plugin: Plugin, configure: Callable[..., None], policy: str) -> None:
    assert ask(plugin, "broker-evicts") == []
    configure(maxmemory_policy=policy)
    (finding,) = ask(plugin, "broker-evicts")
    assert (finding.severity, policy in finding.words) == ("error", True)


def test_a_broker_that_keeps_nothing(plugin: Plugin, configure: Callable[..., None]) -> None:
    configure(save="", appendonly="no")
    assert [finding.severity for finding in ask(plugin, "broker-forgets")] == ["info"]
    configure(save="3600 1")
    assert ask(plugin, "broker-forgets") == []
    configure(save="", appendonly="yes")
    assert ask(plugin, "broker-forgets") == []


def test_a_broker_that_refuses_to_say(plugin: Plugin, configure: Callable[..., None], server: str) -> None:
    with Redis.from_url(server) as client:
        client.execute_command("ACL", "SETUSER", "default", "-config|get", "-info")
    (memory,) = ask(plugin, "broker-evicts")
    (persistence,) = ask(plugin, "broker-forgets")
    assert (memory.severity, persistence.severity) == ("warning", "info")
    assert memory.words.startswith("could not look: ")


def test_a_broker_of_another_kind(make: Callable[..., Plugin]) -> None:
    plugin = make("memory://")
    assert [ask(plugin, name) for name in ("broker-away", "broker-evicts", "broker-forgets")] == [[], [], []]
