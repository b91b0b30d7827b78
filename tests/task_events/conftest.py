"""A worker that sends events, and whoever listens to them as Flower does."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from celery.events.state import State

from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.conftest import shared_broker, shared_database
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery

    from tests.processes import Worker


class Flower:
    """What Flower knows of tasks and workers, who feeds Celery's own `State` with events as they come."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.state = State()
        self.heard: list[dict[str, Any]] = []
        self._subscribed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @contextmanager
    def listening(self) -> Iterator[Flower]:
        self._thread.start()
        assert self._subscribed.wait(15)
        yield self
        self._stopping.set()
        self._thread.join()

    def _listen(self) -> None:
        with self.app.connection_for_read() as connection:
            receiver = self.app.events.Receiver(connection, handlers={"*": self._hear})
            with receiver.consumer_context(wakeup=False) as (listening, _, _):
                while not self._stopping.is_set():
                    try:
                        listening.drain_events(timeout=0.2)
                    except TimeoutError:
                        self._subscribed.set()

    def _hear(self, event: dict[str, Any]) -> None:
        self.state.event(event)
        if event["type"].startswith("task-"):
            self.heard.append({**event, "state": self.state.tasks[event["uuid"]].state})

    def kinds(self, task_id: str) -> list[str]:
        """The events of a task, in order."""
        return [event["type"] for event in self.heard if event["uuid"] == task_id]

    def states(self, task_id: str) -> list[str]:
        """The states that it was shown in, one after the other."""
        shown = [event["state"] for event in self.heard if event["uuid"] == task_id]
        return [state for state, before in zip(shown, [None, *shown], strict=False) if state != before]

    def shows(self, task_id: str, state: str) -> Any:
        """What is shown of a task, once it is in a state."""
        wait_until(lambda: self.states(task_id)[-1:] == [state], 20, lambda: str(self.states(task_id)))
        return self.state.tasks[task_id]

    @property
    def workers(self) -> set[str]:
        """Every worker in the list, online or not."""
        return set(self.state.workers)


@pytest.fixture(scope="module")
def yard(request: pytest.FixtureRequest, valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder: Path = tmp_path_factory.mktemp("events")
    conf = {
        "task_send_sent_event": True,
        "jobs_queue_defaults": {"retry_delays": [3600]},
        "jobs_promote_interval": 0.4,
        "jobs_worker_timeout": 5,
    }
    with (
        shared_database(request, "sqlite", folder) as database_url,
        Yard(shared_broker(valkey, "sqlite"), database_url, folder, **conf) as yard,
    ):
        yield yard


@pytest.fixture(scope="module")
def flower(yard: Yard) -> Iterator[Flower]:
    with Flower(yard.app).listening() as flower:
        yield flower


@pytest.fixture(scope="module")
def worker(yard: Yard, flower: Flower) -> Worker:
    return yard.worker("-E")


@pytest.fixture(autouse=True)
def phantoms(yard: Yard, flower: Flower, worker: Worker) -> Iterator[None]:
    """Nobody but the worker is ever in the list of workers."""
    wait_until(lambda: flower.workers, process=worker)
    yield
    assert flower.workers == {name_of(worker)}
    assert invariants.check(plugin_of(yard.app).db) == []


def name_of(worker: Worker) -> str:
    """The name under which a worker sends its events."""
    ready = next(line for line in worker.log.splitlines() if line.endswith(" ready."))
    return ready.split()[-2]
