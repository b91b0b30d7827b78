"""The reaper brings back what dead workers held; the sweepers delete what is old, each by its queue's retention."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from celery.exceptions import TaskRevokedError, WorkerLostError

from celery_jobs import Jobs
from celery_jobs.store import attempts, chains, workers
from celery_jobs.store.rows import Claim, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service


def claim(plugin: Plugin, job_id: str, worker: str) -> Claim:
    claimed = attempts.claim(plugin.db, job_id, worker, str(uuid.uuid4()), 1350)
    assert isinstance(claimed, Claim)
    return claimed


def end(app: Celery, plugin: Plugin, dead: bool = False) -> str:
    """A job that has just ended, as a success or as a dead letter."""
    job_id = str(app.tasks["services.add"].delay(1).job_id)
    claimed = claim(plugin, job_id, workers.register(plugin.db, "w@here", 1, ["celery"]))
    if dead:
        chains.bury(plugin.db, claimed, Failure("exception", "ValueError", "no"))
    else:
        attempts.complete(plugin.db, claimed, None, 1)
    return job_id


def test_jobs_of_a_worker_silent_for_60_s_are_pending_again_and_sent(
    app: Celery,
    plugin: Plugin,
    service: Callable[[str], Service],
    later: Callable[[float], None],
    depth: Callable[[], int],
) -> None:
    job_id = app.tasks["services.add"].delay(1).job_id
    claim(plugin, job_id, workers.register(plugin.db, "w@here", 1, ["celery"]))
    before = depth()
    later(50)
    assert service("reaper").run_once() == 0
    later(11)
    assert service("reaper").run_once() == 1
    run = Jobs(app).get(job_id)
    assert (run.status, run.losses, run.attempt_number) == ("pending", 1, 1)
    assert depth() == before + 1


def test_a_database_that_was_away_kills_no_worker_when_it_is_back(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    """While it was away nobody could beat, and nobody could look: the living get a turn before silence counts."""
    job_id = app.tasks["services.add"].delay(1).job_id
    worker = workers.register(plugin.db, "w@here", 1, ["celery"])
    claim(plugin, job_id, worker)
    assert service("reaper").tick() == 0
    later(120)
    assert service("reaper").tick() == 0
    assert workers.heartbeat(plugin.db, worker, ["celery"])
    later(15)
    assert service("reaper").tick() == 0
    assert Jobs(app).get(job_id).losses == 0
    for _ in range(5):
        later(15)
        service("reaper").tick()
    assert Jobs(app).get(job_id).losses == 1


def test_a_worker_that_beats_keeps_its_jobs_past_their_lease(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    job_id = app.tasks["services.add"].delay(1).job_id
    worker = workers.register(plugin.db, "w@here", 1, ["celery"])
    claim(plugin, job_id, worker)
    later(5000)
    assert workers.heartbeat(plugin.db, worker, ["celery"])
    assert service("reaper").run_once() == 0
    assert Jobs(app).get(job_id).status == "processing"


def test_the_third_loss_ends_the_chain_and_its_caller_is_told(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    result = app.tasks["services.add"].delay(1)
    for _ in range(3):
        claim(plugin, result.job_id, workers.register(plugin.db, "w@here", 1, ["celery"]))
        later(61)
        assert service("reaper").run_once() == 1
    run = Jobs(app).get(result.id)
    assert (run.final_status, run.failure_reason, run.losses) == ("dead_lettered", "worker_lost", 3)
    with pytest.raises(WorkerLostError):
        result.get(timeout=5)


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled_and_its_caller_is_told(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    result = app.tasks["services.add"].delay(1)
    claim(plugin, result.job_id, workers.register(plugin.db, "w@here", 1, ["celery"]))
    assert Jobs(app).cancel(result.id, terminate=True).status == "processing"
    later(61)
    assert service("reaper").run_once() == 1
    run = Jobs(app).get(result.id)
    assert (run.status, run.final_status, run.attempt_number) == ("cancelled", "cancelled", 1)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)


@pytest.mark.parametrize(
    ("sweeper", "dead", "days"), [("dead-letter-sweeper", True, 14), ("history-sweeper", False, 30)]
)
def test_what_is_older_than_its_retention_is_deleted(
    app: Celery,
    plugin: Plugin,
    service: Callable[[str], Service],
    later: Callable[[float], None],
    sweeper: str,
    dead: bool,
    days: int,
) -> None:
    end(app, plugin, dead)
    later(days * 86_400 - 60)
    assert service(sweeper).run_once() == 0
    later(120)
    end(app, plugin, dead)
    live = app.tasks["services.add"].delay(1).job_id
    other = {"dead-letter-sweeper": "history-sweeper", "history-sweeper": "dead-letter-sweeper"}[sweeper]
    assert service(other).run_once() == 0
    assert service(sweeper).run_once() == 1
    assert len(Jobs(app).list()) == 2
    assert Jobs(app).get(live).status == "pending"


def test_each_queue_has_its_own_retention(
    app: Celery, plugin: Plugin, service: Callable[[str], Service], later: Callable[[float], None]
) -> None:
    app.conf.jobs_queues = {"celery": {"dlq_retention_days": 1}}
    plugin.__dict__.pop("settings")
    end(app, plugin, dead=True)
    later(86_500)
    assert service("dead-letter-sweeper").run_once() == 1
