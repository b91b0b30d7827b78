"""The broker is away, or does not answer: an enqueue keeps its promise and takes 3 s at most."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.demo.valkey import Valkey, free_port, start_valkey
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from tests.apps import make_app, working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

MOST_SECONDS = 3.0


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A broker of the test's own, to be stopped and frozen."""
    with start_valkey(tmp_path / "valkey") as server:
        yield server


def app_on(broker: str, backend: str, url: str) -> Celery:
    return make_app(broker, url, result_backend=backend, task_send_sent_event=True, jobs_broker_retry_interval=0.2)


def task_of(app: Celery) -> Any:
    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return add


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return call(), time.monotonic() - started


def test_a_refusing_redis_as_broker_and_backend_costs_an_enqueue_nothing(
    new_sqlite_database: Callable[[], str],
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    app = app_on(url, url, new_sqlite_database())
    result, seconds = timed(lambda: task_of(app).delay(1, 2))
    assert seconds < MOST_SECONDS
    assert Jobs(app).get(result.id).attempts[0].sent_at is None


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_never_answers_costs_3_s_at_most_and_then_nothing(
    deaf_port: int, scheme: str, new_sqlite_database: Callable[[], str]
) -> None:
    broker = f"{scheme}://127.0.0.1:{deaf_port}/" + ("0" if scheme == "redis" else "/")
    app = app_on(broker, "rpc://" if scheme == "amqp" else broker, new_sqlite_database())
    app.conf.jobs_broker_retry_interval = 60
    add = task_of(app)
    result, seconds = timed(lambda: add.delay(1, 2))
    assert seconds < MOST_SECONDS
    assert Jobs(app).get(result.id).status == "pending"
    _, again = timed(lambda: add.delay(1, 2))
    assert again < 0.5  # the circuit is open


def test_a_refusing_rabbitmq_with_rpc_results_still_takes_the_job(new_sqlite_database: Callable[[], str]) -> None:
    app = app_on(f"amqp://127.0.0.1:{free_port()}//", "rpc://", new_sqlite_database())
    result, seconds = timed(lambda: task_of(app).delay(1, 2))
    assert seconds < MOST_SECONDS
    assert Jobs(app).get(result.id).attempts[0].sent_at is None


def test_what_was_enqueued_without_a_broker_runs_when_it_is_back(
    own_valkey: Valkey, new_sqlite_database: Callable[[], str]
) -> None:
    app = app_on(own_valkey.url, own_valkey.url, new_sqlite_database())
    add = task_of(app)
    assert add.delay(0, 0).job_id  # a connection that breaks under the next call
    own_valkey.stop()
    result = add.delay(1, 2)
    assert Jobs(app).get(result.id).attempts[0].sent_at is None
    own_valkey.restart()
    promoter = make_service(plugin_of(app), "promoter")
    assert wait_until(promoter.run_once) == 1
    with working(app):
        assert result.get(timeout=40) == 3


def test_a_broker_that_freezes_under_an_open_connection_costs_3_s_at_most(
    own_valkey: Valkey, new_sqlite_database: Callable[[], str]
) -> None:
    app = app_on(own_valkey.url, own_valkey.url, new_sqlite_database())
    add = task_of(app)
    add.delay(0, 0)
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        result, seconds = timed(lambda: add.delay(1, 2))
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)
    assert seconds < MOST_SECONDS
    assert Jobs(app).get(result.id).status == "pending"


def test_a_flushed_broker_loses_no_job(own_valkey: Valkey, new_sqlite_database: Callable[[], str]) -> None:
    app = make_app(own_valkey.url, new_sqlite_database(), jobs_redispatch_after=0.2, jobs_redispatch_interval=0.2)
    add = task_of(app)
    results = [add.delay(n, n) for n in range(20)]
    with own_valkey_client(own_valkey) as client:
        client.flushall()
    with working(app):  # its stand-in runs the redispatcher
        assert wait_until(lambda: len(Jobs(app).list(status="success")) == 20)
    assert [Jobs(app).get(result.id).result for result in results] == [n + n for n in range(20)]


def own_valkey_client(server: Valkey) -> Any:
    from redis import Redis

    return Redis.from_url(server.url)
