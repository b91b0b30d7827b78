from __future__ import annotations

import math
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from celery_jobs.ids import new_id
from celery_jobs.store import endings, services, workers
from celery_jobs.store.attempts import Unclaimed
from celery_jobs.store.attempts import claim as try_claim
from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs
from celery_jobs.store.tables import workers as table
from celery_jobs.store.workers import declare_dead, forget, heartbeat, register
from tests.store.conftest import LEASE, begin, beside, claim, complete, count, shift, store, stored

if TYPE_CHECKING:
    from celery_jobs.store.db import Database

SILENCE = 60


def _worker(db: Database, *queues: str) -> str:
    return register(db, "celery@shop", 4242, queues or ("shop",))


def test_a_worker_that_beats_lives(db: Database) -> None:
    worker = _worker(db, "shop")
    shift(db, 50)
    assert heartbeat(db, worker, ["shop", "mail"])
    shift(db, 50)
    assert declare_dead(db, SILENCE) == []
    assert workers.live_queues(db) == {"shop", "mail"}


@pytest.mark.parametrize("ahead", [-30, 0, 30])
def test_clocks_that_agree_as_far_as_an_answer_tells_are_the_same(
    db: Database, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    ours = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(seconds=ahead))
    monkeypatch.setattr(workers, "datetime", ours)
    pulse = heartbeat(db, _worker(db), ["shop"])
    assert pulse is not None
    assert pulse.clock_ahead == (pytest.approx(ahead, abs=5) if ahead else 0)


def test_a_heartbeat_tells_when_a_callback_is_due_and_when_each_service_ran(db: Database) -> None:
    worker = _worker(db)
    pulse = heartbeat(db, worker, ["shop"], ["promoter", "reaper"])
    assert pulse is not None
    assert (pulse.callback_in, pulse.ages) == (None, {"promoter": math.inf, "reaper": math.inf})
    services.take(db, "reaper", 1)
    complete(db, store(db, callback_url="https://shop.example/hook"))
    shift(db, 40)
    pulse = heartbeat(db, worker, ["shop"], ["promoter", "reaper"])
    assert pulse is not None
    assert pulse.callback_in == pytest.approx(-40, abs=5)
    assert pulse.ages == {"promoter": math.inf, "reaper": pytest.approx(40, abs=5)}


def test_a_silent_worker_is_declared_dead_and_must_register_anew(db: Database) -> None:
    silent, alive = _worker(db, "shop"), _worker(db, "mail")
    shift(db, 61)
    assert heartbeat(db, alive, ["mail"])
    assert declare_dead(db, SILENCE) == [silent]
    assert not heartbeat(db, silent, ["shop"])
    assert workers.live_queues(db) == {"mail"}
    assert _worker(db, "shop") != silent


def test_a_dead_worker_is_given_until_it_is_buried(db: Database) -> None:
    worker = _worker(db)
    shift(db, 61)
    assert declare_dead(db, SILENCE) == declare_dead(db, SILENCE) == [worker]
    workers.bury(db, worker, SILENCE)
    assert declare_dead(db, SILENCE) == [worker]
    shift(db, 61)
    workers.bury(db, worker, SILENCE)
    assert declare_dead(db, SILENCE) == []
    assert count(db, table) == 0


def test_a_living_worker_is_not_buried(db: Database) -> None:
    worker = _worker(db)
    workers.bury(db, worker, 0)
    assert heartbeat(db, worker, ["shop"])


def test_a_heartbeat_that_commits_first_keeps_the_worker_alive(db: Database) -> None:
    worker = _worker(db)
    shift(db, 61)
    beat = update(table).where(table.c.id == worker).values(heartbeat_at=now())
    assert beside(db, lambda connection: connection.execute(beat), lambda: declare_dead(db, SILENCE)) == []
    assert heartbeat(db, worker, ["shop"])


def test_the_jobs_that_a_worker_holds_are_those_it_runs(db: Database) -> None:
    worker = _worker(db)
    first, second = claim(db, store(db), worker), claim(db, store(db), worker)
    begin(db)
    store(db)
    endings.lose(db, second.id, 3, worker=worker)
    complete(db, second.id)
    assert workers.running(db, worker, 10) == [first.id]
    claim(db, store(db), worker)
    assert len(workers.running(db, worker, 1)) == 1


def test_a_worker_that_stops_gives_back_what_it_holds_unburnt(db: Database) -> None:
    worker = _worker(db)
    held, other = claim(db, store(db), worker), begin(db)
    assert forget(db, worker) == [held.id]
    row = stored(db, held.id)
    assert (row.status, row.losses, row.attempt_number, row.sent_at, row.worker) == ("pending", 0, 1, None, None)
    assert stored(db, other.id).status == "processing"
    assert not heartbeat(db, worker, ["shop"])
    assert count(db, table) == 0


def test_a_job_asked_to_stop_whose_worker_stops_is_cancelled(db: Database) -> None:
    worker = _worker(db)
    job = claim(db, store(db), worker)
    assert endings.cancel(db, job.id) is True
    forget(db, worker)
    assert isinstance(try_claim(db, job.id, new_id(), new_id(), LEASE), Unclaimed)
    assert stored(db, job.id).final_status == "cancelled"


def test_a_job_asked_to_stop_while_its_worker_stops_is_cancelled(db: Database) -> None:
    worker = _worker(db)
    job = claim(db, store(db), worker)
    ask = update(jobs).where(jobs.c.id == job.id).values(cancel_requested_at=now())
    beside(db, lambda connection: connection.execute(ask), lambda: forget(db, worker))
    assert stored(db, job.id).final_status == "cancelled"


def test_a_lease_bounds_a_job_whose_worker_nobody_knows(db: Database) -> None:
    leases = {job.id: job.lease_token for job in (begin(db), begin(db))}
    shift(db, LEASE - 5)
    assert workers.leases_run_out(db, 10) == []
    shift(db, 6)
    assert dict(workers.leases_run_out(db, 10)) == leases
    assert len(workers.leases_run_out(db, 1)) == 1


def test_a_lease_is_renewed_while_its_worker_lives(db: Database) -> None:
    worker = _worker(db)
    job = claim(db, store(db), worker)
    shift(db, LEASE + 1)
    assert workers.leases_run_out(db, 10) == []
    assert declare_dead(db, SILENCE) == [worker]
    assert workers.leases_run_out(db, 10) == [(job.id, job.lease_token)]
