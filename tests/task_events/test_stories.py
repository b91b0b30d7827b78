"""What Flower shows of a job is true at each moment: held, sent, retried, promoted, cancelled, dead, replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.faults.yard import Yard
    from tests.task_events.conftest import Flower

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("task-events")]

ONCE = ["task-sent", "task-received", "task-started", "task-succeeded"]


def enqueue(yard: Yard, name: str, *args: str, **options: Any) -> str:
    """Enqueue a task of the clockwork as its users do; gives its Celery id."""
    return str(yard.app.send_task(f"tests.faults.clockwork.{name}", args, **options).id)


def falls_due(yard: Yard, task_id: str) -> None:
    """The time of what waits in SQL has come."""
    with yard.db.transaction() as connection:
        waits = (jobs.c.task_id == task_id) & (jobs.c.status == "pending")
        connection.execute(update(jobs).where(waits).values(scheduled_at=now()))


def test_a_job_at_once_is_sent_received_started_and_succeeds_each_said_once(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "note", str(yard.notes), "at-once")
    shown = flower.shows(task_id, "SUCCESS")
    assert sorted(flower.kinds(task_id)) == sorted(ONCE)
    assert (shown.name, shown.result) == ("tests.faults.clockwork.note", "'at-once'")


def test_a_deferred_job_is_pending_until_its_time_with_its_arguments_and_its_eta(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "note", str(yard.notes), "deferred", countdown=3600)
    shown = flower.shows(task_id, "PENDING")
    assert shown.eta is not None
    assert "deferred" in shown.args
    falls_due(yard, task_id)
    flower.shows(task_id, "SUCCESS")
    assert flower.kinds(task_id).count("task-sent") == 2
    assert flower.states(task_id)[0] == "PENDING"


def test_a_job_that_waits_for_its_retry_is_in_retry_until_it_is_promoted(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "flaky", str(yard.notes), "flaky")
    shown = flower.shows(task_id, "RETRY")
    assert shown.exception == "ValueError('not yet')"
    falls_due(yard, task_id)
    shown = flower.shows(task_id, "SUCCESS")
    assert shown.retries == 1
    assert flower.states(task_id)[flower.states(task_id).index("RETRY") + 1] == "PENDING"


def test_a_retry_that_the_task_asks_for_is_said_to_be_sent_when_it_is(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "asks_for_an_hour")
    flower.shows(task_id, "RETRY")
    assert flower.kinds(task_id).count("task-sent") == 1
    falls_due(yard, task_id)
    flower.shows(task_id, "SUCCESS")
    assert flower.kinds(task_id).count("task-sent") == 2


def test_a_dead_letter_has_failed_and_its_replay_is_a_task_of_its_own(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "flaky", str(yard.notes), "dies", max_attempts=1)
    shown = flower.shows(task_id, "FAILURE")
    assert shown.exception == "ValueError('not yet')"
    replay = Jobs(yard.app).replay(task_id)
    flower.shows(replay.task_id, "FAILURE")
    assert flower.kinds(replay.task_id).count("task-sent") == 1
    assert flower.states(task_id)[-1] == "FAILURE"


@pytest.mark.parametrize("waits", ["from the start", "for a retry"])
def test_a_waiting_job_that_is_cancelled_is_revoked(yard: Yard, flower: Flower, waits: str) -> None:
    if waits == "from the start":
        task_id = enqueue(yard, "note", str(yard.notes), "never", countdown=3600)
        flower.shows(task_id, "PENDING")
    else:
        task_id = enqueue(yard, "flaky", str(yard.notes), "stopped")
        flower.shows(task_id, "RETRY")
    Jobs(yard.app).cancel(task_id)
    flower.shows(task_id, "REVOKED")


def test_a_running_job_that_is_cancelled_and_fails_is_revoked(yard: Yard, flower: Flower) -> None:
    gate = yard.folder / "cancelled-gate"
    task_id = enqueue(yard, "fails_after_file", str(gate))
    flower.shows(task_id, "STARTED")
    Jobs(yard.app).cancel(task_id)
    gate.touch()
    flower.shows(task_id, "REVOKED")
    flower.shows(enqueue(yard, "note", str(yard.notes), "next"), "SUCCESS")  # all has been said of the one before
    assert flower.states(task_id)[-1] == "REVOKED"


def test_a_job_that_expires_while_it_waits_is_revoked_as_expired(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "note", str(yard.notes), "never", countdown=3600, expires=0.3)
    flower.shows(task_id, "PENDING")
    redispatcher = make_service(plugin_of(yard.app), "redispatcher")
    wait_until(redispatcher.run_once)
    assert flower.shows(task_id, "REVOKED").expired


def test_a_job_past_its_hard_limit_is_in_retry_by_its_name(yard: Yard, flower: Flower) -> None:
    task_id = enqueue(yard, "wait_for_file", str(yard.folder / "never"), str(yard.notes), "", time_limit=1)
    assert flower.shows(task_id, "RETRY").exception == "TimeLimitExceeded(1)"
    Jobs(yard.app).cancel(task_id)
    flower.shows(task_id, "REVOKED")


def test_a_duplicate_is_no_task_of_its_own(yard: Yard, flower: Flower) -> None:
    options = {"countdown": 3600, "idempotency_key": "one"}
    task_id = enqueue(yard, "note", str(yard.notes), "one", **options)
    before = set(flower.state.tasks)
    assert enqueue(yard, "note", str(yard.notes), "one", **options) == task_id
    after = enqueue(yard, "note", str(yard.notes), "after", countdown=3600)
    flower.shows(after, "PENDING")
    assert set(flower.state.tasks) - before <= {task_id, after}
    assert flower.kinds(task_id).count("task-sent") == 1


def test_of_a_batch_each_job_is_said_once_and_of_one_that_fails_none(yard: Yard, flower: Flower) -> None:
    door = Jobs(yard.app)
    lost = []

    def fails() -> None:
        with door.batch():
            lost.append(enqueue(yard, "note", str(yard.notes), "lost"))
            raise RuntimeError("the caller fails")

    with pytest.raises(RuntimeError):
        fails()
    with door.batch():
        now_due = enqueue(yard, "note", str(yard.notes), "batch")
        held = enqueue(yard, "note", str(yard.notes), "held", countdown=3600)
    flower.shows(now_due, "SUCCESS")
    assert flower.shows(held, "PENDING").eta is not None
    for task_id in (now_due, held):
        assert flower.kinds(task_id).count("task-sent") == 1
    assert flower.kinds(lost[0]) == []
