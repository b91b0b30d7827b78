"""The same promises on RabbitMQ, with rpc:// results: recorded, run, retried, delayed, dead-lettered, sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.queue_depth import queue_depth
from tests.apps import end, make_app, working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rabbitmq")]


@pytest.fixture
def app(rabbitmq: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(rabbitmq, new_sqlite_database(), result_backend="rpc://", jobs_redispatch_after=0.2)

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="flaky", bind=True, shared=False)
    def flaky(self: Any, fails: int) -> str:
        if self.request.retries < fails:
            raise ValueError("not yet")
        return "at last"

    with app.connection_for_write() as connection:
        app.amqp.queues["celery"](connection.default_channel).declare()
        connection.default_channel.queue_purge("celery")
    yield app
    end(app)


def test_jobs_run_wait_retry_and_die(app: Celery) -> None:
    with working(app):  # one worker for all: over AMQP Celery takes 10 s to end one in a thread
        late = app.tasks["add"].apply_async((1, 2), delay=1)
        assert app.tasks["add"].delay(3, 4).get(timeout=40) == 7
        assert app.tasks["flaky"].delay(2).get(timeout=40) == "at last"
        dead = app.tasks["flaky"].delay(9)
        with pytest.raises(ValueError, match="not yet"):
            dead.get(timeout=40)
        assert late.get(timeout=40) == 3
        buried = wait_until(lambda: (run := Jobs(app).get(dead.id)).has_ended and run)
        delayed = wait_until(lambda: (run := Jobs(app).get(late.id)).has_ended and run)
    assert (buried.final_status, buried.attempt_number) == ("dead_lettered", 3)
    assert delayed.started_at is not None
    assert 0 <= (delayed.started_at - delayed.scheduled_at).total_seconds() < 2


@pytest.mark.matrix
def test_what_a_purged_queue_lost_is_sent_again(app: Celery) -> None:
    results = [app.tasks["add"].delay(n, n) for n in range(5)]
    plugin = plugin_of(app)
    assert queue_depth(plugin, "celery") == 5
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")
    app.conf.jobs_redispatch_interval = 0.2
    plugin.__dict__.pop("settings")
    with working(app):
        assert [result.get(timeout=40) for result in results] == [0, 2, 4, 6, 8]


def test_a_queue_that_does_not_exist_holds_nothing(app: Celery) -> None:
    assert queue_depth(plugin_of(app), "never-declared") == 0
