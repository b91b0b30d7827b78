"""The database is away: an enqueue says so within 3 s and sends nothing; a worker waits and loses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from celery import chord
from redis import Redis

from celery_jobs import Jobs, StoreUnavailable, events
from celery_jobs.plugin import plugin_of
from tests.apps import make_app, working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs.events import Event
    from tests.servers.postgres import Postgres


@pytest.fixture
def app(fragile_url: str, broker_url: str) -> Iterator[Celery]:
    app = make_app(broker_url, fragile_url, jobs_database_timeout=2)
    yield app
    plugin_of(app).unchecked_db.dispose()


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_an_enqueue_without_a_database_is_a_typed_error_within_3_s_and_sends_nothing(
    app: Celery, add: Any, own_postgres: Postgres, broker_url: str
) -> None:
    add.delay(1, 1)
    own_postgres.kill()
    with Redis.from_url(broker_url) as client:
        client.flushdb()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            add.delay(1, 2)
        assert time.monotonic() - started < 3
        assert client.dbsize() == 0


def test_an_enqueue_after_a_restart_works_at_once(app: Celery, add: Any, own_postgres: Postgres) -> None:
    add.delay(1, 1)
    own_postgres.kill()
    own_postgres.restart()
    assert Jobs(app).get(add.delay(1, 2).id).status == "pending"


def test_a_worker_waits_for_its_database_and_loses_nothing(app: Celery, own_postgres: Postgres) -> None:
    @app.task(name="stops_the_database", shared=False)
    def stops_the_database() -> str:
        own_postgres.kill()
        return "finished without a database"

    with working(app):
        result = stops_the_database.delay()
        assert result.get(timeout=40) == "finished without a database"
        own_postgres.restart()
        run = wait_until(lambda: (run := Jobs(app).get(result.id)).has_ended and run)
    assert (run.final_status, run.result) == ("success", "finished without a database")


@pytest.mark.matrix
@pytest.mark.parametrize("shape", ["chain", "chord", "errback"])
def test_what_follows_a_task_waits_for_its_database_too(app: Celery, own_postgres: Postgres, shape: str) -> None:
    """The task has done its work: that its next step cannot be stored yet is no failure of it."""
    waiting: list[Event] = []

    @app.task(name="stops_the_database", shared=False, max_attempts=1)
    def stops_the_database(fail: bool = False) -> str:
        own_postgres.kill()
        if fail:
            raise ValueError("failed without a database")
        return "finished without a database"

    @app.task(name="next_step", shared=False)
    def next_step(before: Any) -> Any:
        return before

    @events.subscribe
    def hear(event: Event) -> None:
        if event.kind is events.Kind.STORE_UNAVAILABLE:
            waiting.append(event)

    first, second = stops_the_database.s(fail=shape == "errback"), next_step.s()
    canvas = {"chain": first | second, "chord": chord([first], second), "errback": first.on_error(second)}[shape]
    with working(app):
        canvas.apply_async()
        wait_until(lambda: waiting)
        own_postgres.restart()
        wait_until(lambda: Jobs(app).count(ended=True) == 2)
    events.unsubscribe(hear)
    last, begun = Jobs(app).list()
    assert (begun.final_status, last.final_status) == ("dead_lettered" if shape == "errback" else "success", "success")


def test_an_enqueue_into_a_frozen_database_is_a_typed_error_within_3_s(
    app: Celery, add: Any, own_postgres: Postgres
) -> None:
    add.delay(1, 1)
    for _ in range(2):  # over a connection that is up, and over one that would have to be made
        with own_postgres.frozen():
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                add.delay(1, 2)
            assert time.monotonic() - started < 3
    assert Jobs(app).get(add.delay(1, 3).id).status == "pending"


def test_a_transition_that_a_frozen_server_never_answers_goes_on_over_another_connection(app: Celery, add: Any) -> None:
    add.delay(1, 1)
    db = plugin_of(app).db
    connections: list[Any] = []

    def transition(connection: Any) -> int:
        connections.append(connection.connection.driver_connection)
        if len(connections) == 1:
            connection.exec_driver_sql("SELECT pg_sleep(60)")
        return int(connection.exec_driver_sql("SELECT 1").scalar_one())

    assert db.persist(transition, within=1) == 1
    assert connections[0] is not connections[1]
