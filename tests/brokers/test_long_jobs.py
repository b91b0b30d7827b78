"""Jobs longer than RabbitMQ waits for an acknowledgement: it closes the worker's channel and delivers them again."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.queue_depth import queue_depth
from tests.apps import end, make_app
from tests.faults.shop import settings
from tests.processes import SOURCE, Worker, wait_until
from tests.servers.postgres import ServerUnavailable
from tests.servers.rabbitmq import start_rabbitmq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rabbitmq")]

IMPATIENCE = "-rabbit consumer_timeout 1500 -rabbit channel_tick_interval 500"
"""RabbitMQ waits 1.5 s for an acknowledgement, not half an hour, and looks twice a second, not once a minute."""

CLOSED = "delivery acknowledgement on channel"
"""What a worker is told when its channel is closed."""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a RabbitMQ that soon takes back what is not acknowledged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", IMPATIENCE)
        try:
            with start_rabbitmq(tmp_path_factory.mktemp("impatient")) as url:
                yield url
        except ServerUnavailable as error:
            pytest.skip(f"RabbitMQ is not available: {error}")


@pytest.fixture
def app(impatient: str, valkey: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(impatient, new_sqlite_database(), result_backend=valkey)
    yield app
    end(app)


@pytest.fixture
def start(app: Celery, valkey: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers that acknowledge late, `start(setting=value)`, and ends them."""
    with ExitStack() as stack:

        def new(**conf: Any) -> Worker:
            env = settings(task_acks_late=True, result_backend=valkey, **conf)
            worker = Worker(
                "tests.faults.shop:app",
                tmp_path,
                broker_url=app.conf.broker_url,
                database_url=app.conf.jobs_database_url,
                concurrency=2,
                env={"PYTHONPATH": str(SOURCE.parent)} | env,
            )
            return stack.enter_context(worker).wait_ready()

        yield new


@dataclass(frozen=True, slots=True)
class Long:
    """A job that runs until it is let go, and notes its starts."""

    result: Any
    gate: Path
    started: Path

    def ends_well(self, app: Celery) -> None:
        """It has started once and ends once, in its first attempt, and its caller hears of it."""
        self.gate.touch()
        assert self.result.get(timeout=40) == "done"
        assert attempts(app, self.result) == [("completed", 0, 1)]
        assert len(self.started.read_text().split()) == 1


@pytest.fixture
def long(app: Celery, tmp_path: Path) -> Long:
    gate, started = tmp_path / "gate", tmp_path / "started"
    return Long(app.send_task("tests.faults.shop.wait_for_file", (str(gate), str(started))), gate, started)


@pytest.mark.matrix
def test_a_job_whose_channel_rabbitmq_closes_starts_once_and_its_worker_goes_on(
    app: Celery, start: Callable[..., Worker], long: Long
) -> None:
    worker = start(broker_channel_error_retry=True)
    wait_until(lambda: "was dropped: taken" in worker.log, timeout=30, process=worker)
    assert CLOSED in worker.log
    long.ends_well(app)
    goes_on(app, worker)


def test_a_worker_that_celery_ends_for_its_closed_channel_ends_its_job_and_another_drops_the_message(
    app: Celery, start: Callable[..., Worker], long: Long
) -> None:
    closed = start()
    wait_until(long.started.exists, process=closed)
    other = start()
    wait_until(lambda: CLOSED in closed.log, timeout=30, process=closed)
    wait_until(lambda: "was dropped: taken" in other.log, timeout=30, process=other)
    long.ends_well(app)
    goes_on(app, other)
    # Not waited for: Celery ends it by terminating its pool, which now and then waits for ever where a child's
    # result comes in that moment. Whoever kills it then loses nothing.
    assert closed.log.count(" received") == 1


def goes_on(app: Celery, worker: Worker) -> None:
    """The worker runs what comes next, and leaves no message behind."""
    following = app.send_task("tests.faults.shop.add", (1, 2))
    assert following.get(timeout=40) == 3
    assert attempts(app, following) == [("completed", 0, 1)]
    wait_until(lambda: queue_depth(plugin_of(app), "celery") == 0, process=worker)
    assert worker.process.poll() is None


def attempts(app: Celery, result: Any) -> list[tuple[str, int, int]]:
    """Status, losses and sends of each attempt of a chain that ends."""
    run = wait_until(lambda: (run := Jobs(app).get(result.id)).has_ended and run)
    return [(job.status, job.losses, job.send_count) for job in run.attempts]
