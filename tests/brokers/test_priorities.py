"""What waits for a busy worker: our doors take the higher priority first, Celery's own means what its broker says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs import Jobs
from celery_jobs.store import invariants
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.matrix,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

QUEUE, SERVICES = "by-priority", "by-priority-services"
LEVELS = 10
DEPTH = 300
FILLERS = 2
"""Jobs that a busy worker may have fetched before those whose order counts."""


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.xdist_group("rabbitmq"))])
def broker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def yard(request: pytest.FixtureRequest, broker: str, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    url = request.getfixturevalue("broker_url" if broker == "redis" else broker)
    conf = {"task_queue_max_priority": LEVELS, "jobs_service_queue": SERVICES}
    with Yard(url, database_url, tmp_path, task_default_queue=QUEUE, worker_prefetch_multiplier=1, **conf) as yard:
        yield yard
        assert invariants.check(yard.db) == []
        with yard.app.connection_for_write() as connection:
            for queue in (QUEUE, SERVICES):
                connection.default_channel.queue_delete(queue)


class Line:
    """Jobs that wait while the only place of a worker is taken."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.gate = yard.folder / "gate"
        self.worker = yard.worker("-Q", QUEUE)
        self.ids = [yard.send("wait_for_file", str(self.gate), str(yard.notes), "busy")]
        wait_until(lambda: yard.noted() == ["busy"], process=self.worker)
        self.ids += [yard.send("note", str(yard.notes), "filler") for _ in range(FILLERS)]

    def enqueue(self, priority: int) -> None:
        """Through a door of ours."""
        arguments = [str(self.yard.notes), f"ours:{priority}"]
        self.ids.append(Jobs(self.yard.app).enqueue("tests.faults.clockwork.note", arguments, priority=priority).id)

    def call(self, priority: int | None = None) -> None:
        """As Celery's callers do."""
        options = {} if priority is None else {"priority": priority}
        self.ids.append(self.yard.send("note", str(self.yard.notes), f"celery:{priority}", **options))

    def deepen(self, number: int) -> None:
        """Many of no hurry, ahead of whatever comes."""
        items = [{"task": "tests.faults.clockwork.note", "args": [str(self.yard.notes), "deep"]}] * number
        self.ids += [str(outcome.job_id) for outcome in Jobs(self.yard.app).enqueue_many(items)]

    def order(self) -> list[str]:
        """The order in which all but the fillers ran."""
        self.gate.touch()
        for job_id in self.ids:
            self.yard.ended(job_id, self.worker)
        return [name for name in self.yard.noted() if name not in ("busy", "filler")]


def test_our_doors_take_the_higher_priority_first(yard: Yard) -> None:
    line = Line(yard)
    for priority in (0, -1, 1, 10):
        line.enqueue(priority)
    # RabbitMQ has no level below 0, and goes by age there.
    assert line.order() == ["ours:10", "ours:1", "ours:0", "ours:-1"]


def test_a_callers_celery_priority_keeps_celerys_meaning(yard: Yard, broker: str) -> None:
    line = Line(yard)
    for priority in (3, 0, 9, 6):
        line.call(priority)
    wanted = [0, 3, 6, 9] if broker == "redis" else [9, 6, 3, 0]
    assert line.order() == [f"celery:{priority}" for priority in wanted]


def test_an_unmarked_call_counts_as_priority_0(yard: Yard) -> None:
    line = Line(yard)
    line.enqueue(0)
    line.call()
    line.enqueue(1)
    line.enqueue(0)
    assert line.order() == ["ours:1", "ours:0", "celery:None", "ours:0"]


def test_a_deep_queue_is_passed_by_what_is_urgent(yard: Yard) -> None:
    line = Line(yard)
    line.deepen(DEPTH)
    for priority in (1, 10, 1, 10):
        line.enqueue(priority)
    assert line.order() == ["ours:10", "ours:10", "ours:1", "ours:1", *["deep"] * DEPTH]


def test_a_retry_passes_as_its_first_attempt_did(yard: Yard) -> None:
    line = Line(yard)
    line.deepen(DEPTH)
    arguments = [str(yard.notes), "urgent"]
    flaky = Jobs(yard.app).enqueue("tests.faults.clockwork.flaky", arguments, priority=10, retry_delays=[0])
    line.ids.append(flaky.id)
    order = line.order()
    assert (order[0], order.count("urgent")) == ("urgent", 2)
    assert "urgent" in order[1 : 2 + FILLERS]  # but for what was fetched while the first attempt ended
