"""Brokers that are no servers: a folder, and a table in a SQLite file. All on one machine, for a laptop."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.queue_depth import queue_depth
from celery_jobs.store import invariants
from tests.faults.yard import Yard
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.processes import Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.matrix,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]


class Laptop(Yard):
    """A yard without servers, whose broker can be emptied."""

    def __init__(self, kind: str, database_url: str, folder: Path) -> None:
        self.kind = kind
        self.place = folder / "broker"
        self.place.mkdir()
        file = self.place / "broker.sqlite3"
        urls = {"filesystem": "filesystem://", "sqlalchemy": f"sqla+sqlite:///{file}"}
        place = str(self.place)
        options = {"data_folder_in": place, "data_folder_out": place, "control_folder": place, "polling_interval": 0.05}
        settings = {"broker_transport_options": options} if kind == "filesystem" else {}
        super().__init__(
            urls[kind],
            database_url,
            folder,
            result_backend=f"db+sqlite:///{folder}/results.sqlite3",
            jobs_redispatch_after=2,
            jobs_redispatch_interval=0.5,
            jobs_promote_interval=0.5,
            jobs_queue_defaults={"retry_delays": [0.2, 0.4]},
            **settings,
        )

    def lose_messages(self) -> None:
        """Empty the broker behind everybody's back."""
        if self.kind == "filesystem":
            for file in self.place.glob("*.msg"):
                file.unlink()
        else:
            with sqlite3.connect(self.place / "broker.sqlite3") as connection:
                connection.execute("DELETE FROM kombu_message")


@pytest.fixture(params=["filesystem", "sqlalchemy"])
def yard(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Laptop]:
    with Laptop(request.param, database_url, tmp_path) as yard:
        yield yard
        assert invariants.check(yard.db) == []


def note(yard: Laptop, name: str, **options: Any) -> str:
    return yard.send("note", str(yard.notes), name, **options)


def verdicts(yard: Laptop, job_id: str, worker: Worker) -> list[str | None]:
    return [row.final_status for row in yard.ended(job_id, worker, 30)]


def test_jobs_run_wait_follow_one_another_are_retried_and_die(yard: Laptop) -> None:
    worker = yard.worker()
    gate = yard.folder / "gate"
    gate.touch()
    soon, far = note(yard, "soon", countdown=2), note(yard, "far", countdown=3600)
    later = yard.send("third_time", str(yard.notes), str(gate))
    never = yard.send("third_time", str(yard.notes), str(gate), max_attempts=2)
    steps = [yard.app.signature("tests.faults.clockwork.note", (str(yard.notes), name)) for name in ("one", "two")]
    last = chain(*[step.set(immutable=True) for step in steps], app=yard.app).apply_async()
    assert last.get(timeout=30) == "two"
    assert verdicts(yard, later, worker) == ["success", "failed_with_retries", "success"]
    assert verdicts(yard, never, worker) == ["dead_lettered", "failed_with_retries"]
    replayed = Jobs(yard.app).replay(never)
    assert verdicts(yard, replayed.id, worker) == ["dead_lettered", "failed_with_retries"]
    assert verdicts(yard, soon, worker) == ["success"]
    assert yard.attempts(far)[0].sent_at is None
    Jobs(yard.app).fire(far)
    assert verdicts(yard, far, worker) == ["success"]
    assert Jobs(yard.app).cancel(note(yard, "cancelled", countdown=3600)).final_status == "cancelled"
    assert Jobs(yard.app).examine() == []


def test_jobs_are_first_in_first_out_and_those_that_are_lost_are_sent_again(yard: Laptop) -> None:
    lost = note(yard, "lost")
    yard.lose_messages()
    assert depth(yard) == 0
    ids = []
    for number, priority in enumerate([0, 9, 3]):
        ids.append(note(yard, f"job-{number}", priority=priority))
        time.sleep(0.002)  # a folder is read by the milliseconds in its names
    assert depth(yard) == 3
    worker = yard.worker()
    assert [verdicts(yard, job_id, worker) for job_id in (*ids, lost)] == [["success"]] * 4
    assert [name for name in yard.noted() if name != "lost"] == ["job-0", "job-1", "job-2"]
    assert yard.attempts(lost)[0].send_count == 2


def depth(yard: Laptop) -> int | None:
    return queue_depth(plugin_of(yard.app), "celery")


def test_what_a_killed_worker_ran_or_had_fetched_is_run_by_the_next(yard: Laptop) -> None:
    """Either broker has forgotten it by then."""
    gate = yard.folder / "gate"
    # Sent first: kombu's worker ends at a file that it finds while it is written.
    ids = [yard.send("wait_for_file", str(gate), str(yard.notes), f"job-{number}") for number in range(3)]
    worker = yard.worker()
    wait_until(lambda: worker.log.count(" received") >= 2, process=worker)
    wait_until(yard.noted, process=worker)
    worker.kill()
    gate.touch()
    following = yard.worker()
    assert [verdicts(yard, job_id, following) for job_id in ids] == [["success"]] * 3


def test_a_revoke_needs_no_remote_control(yard: Laptop) -> None:
    waiting = yard.app.send_task("tests.faults.clockwork.note", (str(yard.notes), "never"), countdown=3600)
    yard.app.control.revoke(waiting.id)
    assert Jobs(yard.app).get(waiting.id).final_status == "cancelled"
    assert waiting.state == "REVOKED"


@pytest.mark.parametrize("way", ["cancel", "revoke"])
def test_a_running_job_is_killed_though_no_broadcast_need_carry_it(yard: Laptop, way: str) -> None:
    worker = yard.worker()
    job_id = yard.send("wait_for_file", str(yard.folder / "never"), str(yard.notes), "begun")
    wait_until(yard.noted, process=worker)
    result = yard.app.AsyncResult(job_id)
    if way == "cancel":
        Jobs(yard.app).cancel(job_id, terminate=True)
    else:
        result.revoke(terminate=True)
    assert verdicts(yard, job_id, worker) == ["cancelled"]
    wait_until(lambda: result.state == "REVOKED", 20, lambda: f"the caller sees {result.state}", worker)
    assert verdicts(yard, note(yard, "next"), worker) == ["success"]
