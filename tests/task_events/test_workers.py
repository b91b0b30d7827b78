"""In whose name it is said what no worker can say: of one that is in the list, and of nobody where there is none."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from celery_jobs import Jobs
from celery_jobs.demo.valkey import HOST, free_port
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.faults.yard import Yard
from tests.processes import SOURCE, CeleryProcess, wait_until
from tests.task_events.conftest import Flower, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.matrix,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


@pytest.fixture(autouse=True)
def phantoms() -> None:
    """Each story here says who may be in the list."""


@pytest.fixture
def yard(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    conf = {"task_send_sent_event": True, "jobs_queue_defaults": {"retry_delays": [3600]}}
    with Yard(broker_url, database_url, tmp_path, **conf) as yard:
        yield yard
        assert invariants.check(plugin_of(yard.app).db) == []


@pytest.fixture
def flower(yard: Yard) -> Iterator[Flower]:
    with Flower(yard.app).listening() as flower:
        yield flower


def enqueue(yard: Yard, name: str, *args: str, **options: Any) -> str:
    return str(yard.app.send_task(f"tests.faults.clockwork.{name}", args, **options).id)


def test_the_job_of_a_killed_worker_is_in_retry_until_another_takes_it(yard: Yard, flower: Flower) -> None:
    gate = yard.folder / "gate"
    first = yard.worker("-E")
    task_id = enqueue(yard, "wait_for_file", str(gate), str(yard.notes), "twice")
    flower.shows(task_id, "STARTED")
    wait_until(yard.noted, process=first)  # a process has claimed it
    first.kill()
    second = yard.worker("-E")
    gate.touch()
    flower.shows(task_id, "SUCCESS")
    assert [state for state in flower.states(task_id) if state in ("STARTED", "RETRY")][:3] == [
        "STARTED",
        "RETRY",
        "STARTED",
    ]
    assert flower.kinds(task_id).count("task-sent") == 1
    assert flower.workers == {name_of(first), name_of(second)}


def test_a_job_that_loses_each_of_its_workers_has_failed(yard: Yard, flower: Flower) -> None:
    gate = yard.folder / "never"
    task_id = enqueue(yard, "wait_for_file", str(gate), str(yard.notes), "lost")
    workers = set()
    for number in range(3):
        worker = yard.worker("-E")
        workers.add(name_of(worker))
        wait_until(lambda number=number: len(yard.noted()) == number + 1, 20, process=worker)  # type: ignore[misc]
        worker.kill()
    last = yard.worker("-E")
    assert "worker was lost 3 times" in flower.shows(task_id, "FAILURE").exception
    assert flower.workers == {*workers, name_of(last)}


def test_a_worker_that_was_stopped_is_not_said_to_be_back(yard: Yard, flower: Flower) -> None:
    first = yard.worker("-E")
    task_id = enqueue(yard, "flaky", str(yard.notes), "cancelled")
    flower.shows(task_id, "RETRY")
    first.stop()
    second = yard.worker("-E")
    wait_until(lambda: name_of(second) in flower.workers, 20)
    Jobs(yard.app).cancel(task_id)
    assert flower.shows(task_id, "REVOKED").worker.hostname == name_of(second)
    assert not flower.state.workers[name_of(first)].alive


def test_where_no_worker_lives_none_is_invented(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "note", str(yard.notes), "never", countdown=3600)
    flower.shows(task_id, "PENDING")
    Jobs(yard.app).cancel(task_id)
    flower.shows(enqueue(yard, "note", str(yard.notes), "after", countdown=3600), "PENDING")
    assert flower.kinds(task_id) == ["task-sent"]
    assert flower.workers == set()


def test_flower_itself_shows_what_was_said(yard: Yard, flower: Flower) -> None:
    worker = yard.worker("-E")
    with FlowerProcess(yard) as process:
        task_id = enqueue(yard, "flaky", str(yard.notes), "flaky")
        wait_until(lambda: process.state_of(task_id) == "RETRY", 30, process=process)
        Jobs(yard.app).cancel(task_id)
        wait_until(lambda: process.state_of(task_id) == "REVOKED", 30, process=process)
        held = enqueue(yard, "note", str(yard.notes), "held", countdown=3600)
        wait_until(lambda: process.state_of(held) == "PENDING", 30, process=process)
        assert process.workers == {name_of(worker)}


class FlowerProcess(CeleryProcess):
    """A `celery flower`, asked through its own routes."""

    ready_line = "Connected to"
    tied_by = signal.SIGTERM

    def __init__(self, yard: Yard) -> None:
        self.url = f"http://{HOST}:{(port := free_port())}"
        super().__init__(
            "tests.faults.clockwork:app",
            yard.folder,
            broker_url=yard.broker_url,
            command=["flower", f"--address={HOST}", f"--port={port}", f"--conf={os.devnull}"],
            env={"PYTHONPATH": str(SOURCE.parent), "FLOWER_UNAUTHENTICATED_API": "true"},
        )

    def __enter__(self) -> Self:
        return self.wait_ready(40)

    def state_of(self, task_id: str) -> str | None:
        """The state that a task is shown in, if it is known."""
        answer = httpx.get(f"{self.url}/api/task/info/{task_id}", timeout=10, trust_env=False)
        return answer.json()["state"] if answer.is_success else None

    @property
    def workers(self) -> set[str]:
        """Every worker in the list."""
        return set(httpx.get(f"{self.url}/api/workers?status=true", timeout=10, trust_env=False).json())
