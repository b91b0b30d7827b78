"""Sentry's integration in real processes: a transaction for each attempt, one error for each chain, beat's monitors."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery.beat import PersistentScheduler

from celery_jobs import Jobs
from celery_jobs.beat import beat_schedule
from celery_jobs.plugin import plugin_of
from tests.neighbours.conftest import send_again
from tests.processes import SOURCE, Beat, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from celery_jobs import Run

pytestmark = pytest.mark.slow


class Shop:
    """The shop of watched.py with one worker, and what its processes would have sent to Sentry."""

    def __init__(self, app: Celery, folder: Path, excluded: list[str]) -> None:
        self.app = app
        self.jobs = Jobs(app)
        self.folder = folder
        self._record = folder / "sentry"
        self.place: dict[str, Any] = {
            "broker_url": app.conf.broker_url,
            "database_url": app.conf.jobs_database_url,
            "env": {
                "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
                "SENTRY_RECORD": str(self._record),
                "SENTRY_EXCLUDE": json.dumps(excluded),
            },
        }
        self.worker = Worker("tests.neighbours.watched:app", folder, **self.place)

    def send(self, name: str) -> str:
        """Enqueue a task without Sentry in the caller; gives the job's id."""
        return str(self.app.send_task(name).job_id)

    def ended(self, job_id: str) -> Run:
        return self.jobs.wait(job_id, 30)

    def items(self, kind: str) -> list[dict[str, Any]]:
        """What would have been sent, in order."""
        written = self._record.read_text() if self._record.exists() else ""
        whole, _, _ = written.rpartition("\n")  # the last line may be on its way
        return [item for item in map(json.loads, whole.splitlines()) if item["type"] == kind]

    def transactions(self, task_id: str) -> list[dict[str, Any]]:
        """The trace of each transaction of a chain."""
        found = [item for item in self.items("transaction") if item["tags"]["celery_task_id"] == task_id]
        return [item["contexts"]["trace"] for item in found]

    def statuses(self, task_id: str) -> list[str]:
        return [trace["status"] for trace in self.transactions(task_id)]

    def errors(self) -> list[tuple[str, str, bool]]:
        """The exceptions that were reported: the chain, the class, and whether somebody handled it."""
        return [
            (event["tags"]["celery_task_id"], raised["type"], raised["mechanism"]["handled"])
            for event in self.items("event")
            for raised in event.get("exception", {}).get("values", [])
        ]

    def logged(self) -> list[str]:
        """The loggers of the records that were reported."""
        return [event["logger"] for event in self.items("event") if "logentry" in event]


@pytest.fixture
def excluded() -> list[str]:
    """Entries of beat that Sentry does not watch."""
    return []


@pytest.fixture
def shop(new_app: Callable[..., Celery], tmp_path: Path, excluded: list[str]) -> Iterator[Shop]:
    app = new_app(jobs_queue_defaults={"retry_delays": [0.1]})
    app.task(lambda: None, name="any")  # so that this app's calls by name are jobs too
    shop = Shop(app, tmp_path, excluded)
    with shop.worker.wait_ready():
        yield shop
    assert shop.jobs.check() == []


def test_each_attempt_is_a_transaction_and_a_chain_reports_its_last_error_only(shop: Shop) -> None:
    """As with Celery's own retries: an attempt that is retried is an aborted transaction, and no error."""
    later, dead, own, orders = (shop.send(name) for name in ("works_later", "fails", "autoretries", "orders"))
    send_again(shop.app, later)
    verdicts = [shop.ended(job_id).final_status for job_id in (later, dead, own, orders)]
    assert verdicts == ["success", "dead_lettered", "dead_lettered", "success"]
    wait_until(lambda: f"a message of job {later} was dropped" in shop.worker.log, process=shop.worker)

    assert shop.statuses(later) == ["aborted", "ok"]  # the duplicate made none
    assert shop.statuses(own) == shop.statuses(dead) == ["aborted", "internal_error"]
    assert sorted(shop.errors()) == sorted([(dead, "ValueError", False), (own, "KeyError", False)])

    [trace] = shop.transactions(orders)
    for child in (children := shop.ended(orders).result):
        shop.ended(child)
        assert [found["trace_id"] for found in shop.transactions(child)] == [trace["trace_id"]] * 2
    assert len(children) == 2

    wait_until(lambda: shop.logged() == ["celery_jobs"] * 2)  # the log's words on the two dead letters
    shop.ended(shop.send("hush"))
    shop.ended(shop.send("fails"))
    shop.ended(shop.send("works_later"))
    assert (len(shop.errors()), len(shop.logged())) == (3, 2)


@pytest.mark.matrix
@pytest.mark.parametrize(("excluded", "ours"), [([], ["in_progress", "ok"]), ([r"celery-jobs\..*"], [])])
def test_the_monitors_of_beats_entries_are_checked_in(shop: Shop, ours: list[str]) -> None:
    schedule = str(shop.folder / "schedule")
    entries = {"close-the-books": {"task": "close_the_books", "schedule": 60.0}}
    shop.app.conf.beat_schedule = {**beat_schedule(plugin_of(shop.app).settings), **entries}
    before = PersistentScheduler(shop.app, schedule_filename=schedule)
    for entry in before.schedule.values():
        entry.last_run_at -= timedelta(days=2)
    before.close()

    def checked_in(monitor: str) -> list[str]:
        return [item["status"] for item in shop.items("check_in") if item["monitor_slug"] == monitor]

    with Beat("tests.neighbours.watched:app", shop.folder, f"--schedule={schedule}", **shop.place) as beat:
        wait_until(lambda: len(checked_in("close-the-books")) == 3, 30, process=beat)
        wait_until(lambda: promoted(shop) and len(checked_in("celery-jobs.promoter")) == len(ours), 30, process=beat)
    # A retry is an error of the monitor, as with Celery's own.
    assert checked_in("close-the-books") == ["in_progress", "error", "ok"]
    assert checked_in("celery-jobs.promoter") == ours
    assert checked_in("celery-jobs.reaper") == []  # Sentry watches nothing that comes more often than each minute
    ids = Counter(item["check_in_id"] for item in shop.items("check_in") if item["monitor_slug"] == "close-the-books")
    assert list(ids.values()) == [3]
    assert {run.final_status for run in shop.jobs.list(task="close_the_books").runs} == {"success"}


def promoted(shop: Shop) -> bool:
    """Whether beat's tick of the promoter has been run."""
    return "celery_jobs.promoter" in {found["transaction"] for found in shop.items("transaction")}
