"""A channel of Redis makes its client once for each pool of connections, the worker's too, and works as before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection
from redis import Redis

from celery_jobs.kept_client import keep_client
from tests.apps import make_app, working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clients that are made, each by the name of its class."""
    clients: list[str] = []
    begin = Redis.__init__

    def note(self: Any, *args: Any, **options: Any) -> None:
        clients.append(type(self).__name__)
        begin(self, *args, **options)

    monkeypatch.setattr(Redis, "__init__", note)
    return clients


def echo(value: int) -> int:
    return value


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Any) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database())
    app.task(name="echo", shared=False)(echo)
    yield app
    app.close()


def test_a_producer_keeps_one(app: Celery, made: list[str]) -> None:
    app.tasks["echo"].delay(0)
    before = len(made)
    for number in range(5):
        app.tasks["echo"].delay(number)
    assert len(made) == before


def test_a_worker_keeps_one_for_what_it_fetches_and_acknowledges(app: Celery, made: list[str]) -> None:
    with working(app):
        run(app, 1)
        before = len(made)
        run(app, 20)
        assert len(made) - before <= 5  # its heartbeat and the like


def run(app: Celery, count: int) -> None:
    results = [app.tasks["echo"].delay(number) for number in range(count)]
    wait_until(lambda: all(result.ready() for result in results))


def test_a_new_pool_has_a_new_client(broker_url: str) -> None:
    with Connection(broker_url) as connection:
        channel: Any = connection.channel()
        keep_client(channel)
        keep_client(channel)
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._disconnect_pools()
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()
        assert channel.client is not third


def test_what_has_no_clients_is_left_alone() -> None:
    with Connection("memory://") as connection:
        channel: Any = connection.channel()
        keep_client(channel)
        assert not hasattr(channel, "Client")
