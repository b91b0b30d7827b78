"""What docs/adopting.md says of a fleet that is half adopted: which order is safe, and what the other one costs."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group, signals
from redis import Redis

from celery_jobs import JobNotFound
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.adoption.conftest import Fleet

EAGER_REPAIR = {"jobs_redispatch_interval": 0.5, "jobs_redispatch_after": 1}
"""Messages that nobody has claimed are sent again after a second."""


def canvas(app: Celery) -> list[Any]:
    """A chain, a group and a chord, with what they come to."""
    add, total = app.tasks["shop.add"], app.tasks["shop.total"]
    return [
        (chain(add.s(1, 2), add.s(3)).delay(), 6),
        (group(add.s(n, n) for n in range(3)).delay(), [0, 2, 4]),
        (chord([add.s(n, n) for n in range(3)], total.s()).delay(), 6),
    ]


def test_what_was_in_the_broker_before_is_adopted_and_recorded(fleet: Fleet) -> None:
    results = canvas(fleet.old)
    failing = fleet.old.tasks["shop.fail"].delay()
    due = time.time() + 1.5
    later = fleet.mark(fleet.old, "later", countdown=1.5)
    assert fleet.jobs.count() == 0
    with working(fleet.new):
        for result, value in results:
            assert result.get(timeout=40) == value
        assert fleet.ended(failing.id).final_status == "failed_no_retries"
        if time.time() < due:  # it waits in the worker's memory, as Celery has it, and is no job yet
            with pytest.raises(JobNotFound):
                fleet.jobs.get(later.id)
        assert later.get(timeout=40) == "later"
        wait_until(lambda: fleet.jobs.count(ended=True) == 2 + 3 + 4 + 1 + 1)
    assert fleet.jobs.count() == 11
    assert fleet.jobs.count(final_status="success") == 10


@pytest.mark.matrix
@pytest.mark.parametrize("settings", [EAGER_REPAIR], ids=["repair"])
def test_workers_first_and_then_callers_run_each_job_once(fleet: Fleet) -> None:
    before = fleet.mark(fleet.old, "before")
    with working(fleet.old):
        before.get(timeout=40)
    with working(fleet.new):
        ids = [fleet.mark(fleet.old, "caller without", task="shop.mark_later").id]
        ids.append(fleet.mark(fleet.new, "caller with", task="shop.mark_later").id)
        lines = ["before old", "caller without new", "caller with new"]
        fleet.wait_for_marks(*lines)
        assert {fleet.ended(id).final_status for id in ids} == {"success"}
        wait_until(lambda: fleet.jobs.count(ended=True) == 4)
    assert sorted(fleet.marks) == sorted(lines)
    assert fleet.jobs.count(ended=False) == 0


@pytest.mark.matrix
@pytest.mark.parametrize("settings", [EAGER_REPAIR], ids=["repair"])
@pytest.mark.parametrize("sender", ["caller", "task"])
def test_a_marked_message_that_an_old_worker_runs_is_run_again_by_a_new_one(fleet: Fleet, sender: str) -> None:
    """The wrong order: the row stays pending, as nobody has claimed it, and its message is taken for a lost one."""
    if sender == "caller":
        fleet.mark(fleet.new, "twice")
    else:  # new workers are callers too
        with working(fleet.new, queues=["elsewhere"]):
            fleet.ended(fleet.mark(fleet.new, "twice", task="shop.mark_later", queue="elsewhere").id)
    (run,) = fleet.jobs.list(task="shop.mark")
    with working(fleet.old):
        fleet.wait_for_marks("twice old")
        wait_until(lambda: fleet.old.AsyncResult(run.task_id).state == "SUCCESS")
    assert fleet.jobs.get(run.id).status == "pending"
    with working(fleet.new, queues=["celery"]):
        fleet.wait_for_marks("twice old", "twice new")
        assert fleet.ended(run.id).final_status == "success"


def test_messages_without_a_priority_have_a_list_of_redis_of_their_own(fleet: Fleet, broker_url: str) -> None:
    fleet.mark(fleet.new, "list 6")
    fleet.mark(fleet.old, "list 0")
    with Redis.from_url(broker_url) as client:
        assert (client.llen("celery"), client.llen("celery\x06\x166")) == (1, 1)


@pytest.mark.matrix
def test_old_workers_read_that_list_behind_the_one_of_callers_without_the_plugin(fleet: Fleet) -> None:
    fleet.mark(fleet.new, "list 6")
    fleet.mark(fleet.old, "list 0")
    with working(fleet.old):
        fleet.wait_for_marks("list 0 old", "list 6 old")
    assert fleet.marks == ["list 0 old", "list 6 old"]


@pytest.mark.parametrize("settings", [{"jobs_broker_priorities": False}], ids=["no priorities"])
def test_messages_without_a_priority_may_stay_in_celerys_list(fleet: Fleet, broker_url: str) -> None:
    fleet.mark(fleet.new, "one")
    fleet.mark(fleet.new, "held", delay=3600)
    fleet.jobs.fire_many(status="pending")
    with Redis.from_url(broker_url) as client:
        assert (client.llen("celery"), client.llen("celery\x06\x166")) == (2, 0)


@pytest.mark.matrix
@pytest.mark.parametrize("settings", [{"jobs_queue_defaults": {"retry_delays": [0.1]}}], ids=["retries on"])
def test_signals_come_once_a_call_and_once_an_attempt(fleet: Fleet) -> None:
    seen: Counter[str] = Counter()
    told = ("before_task_publish", "after_task_publish", "task_prerun", "task_retry", "task_failure", "task_postrun")
    counters = {name: partial(count, seen, name) for name in told}
    for name, counter in counters.items():
        getattr(signals, name).connect(counter)
    result = fleet.new.tasks["shop.fail"].apply_async(delay=3600)
    with working(fleet.new):
        fleet.jobs.fire(result.id)
        assert fleet.ended(result.id).attempt_number == 2
        wait_until(lambda: seen["task_postrun"] == 2)
    assert [seen[name] for name in told] == [1, 1, 2, 1, 1, 2]


def count(seen: Counter[str], name: str, **_: Any) -> None:
    seen[name] += 1


@pytest.mark.matrix
@pytest.mark.parametrize(("enqueued", "run", "ends"), [(0, 1, "failed_no_retries"), (1, 0, "dead_lettered")])
def test_retries_take_a_caller_and_a_worker_that_have_them(fleet: Fleet, enqueued: int, run: int, ends: str) -> None:
    caller, worker = (
        fleet.another(jobs_queue_defaults={"retries_enabled": bool(given), "retry_delays": [0.1]})
        for given in (enqueued, run)
    )
    result = caller.tasks["shop.fail"].delay()
    with working(worker):
        found = fleet.ended(result.id)
    assert (found.final_status, found.attempt_number) == (ends, 1)
