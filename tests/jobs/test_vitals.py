from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs.store import workers
from tests.jobs.conftest import ADD, bury, fail, succeed

if TYPE_CHECKING:
    from celery_jobs import Jobs
    from celery_jobs.store.db import Database


def test_a_timeline_counts_what_ended_and_how_long_it_took(doors: Jobs, db: Database) -> None:
    for _ in range(3):
        succeed(db, doors.enqueue(ADD, (1,)).id)
    bury(db, doors.enqueue(ADD, (1,), queue="other").id)
    succeed(db, fail(db, doors.enqueue(ADD, (1,)).id, delay=0))
    found = doors.timeline(5)
    assert len(found.minutes) == 5
    assert sum(minute.success for minute in found.minutes) == 4
    assert sum(minute.dead_lettered for minute in found.minutes) == 1
    assert found.minutes[-1].ended + found.minutes[-2].ended == 5
    celery = found.queues["celery"]
    assert (celery.success, celery.retried, found.queues["other"].dead_lettered) == (4, 1, 1)
    assert celery.times.run_p50 == 0.005
    assert celery.times.wait_p95 is not None
    assert 0 <= celery.times.wait_p95 < 60
    assert found.to_json()["queues"]["other"]["ended"] == 1


def test_an_empty_timeline_has_no_times(doors: Jobs) -> None:
    found = doors.timeline()
    assert [minute.ended for minute in found.minutes] == [0] * 60
    assert found.minutes[0].times.wait_p50 is None
    with pytest.raises(ValueError, match=r"^minutes: "):
        doors.timeline(181)


def test_services_and_workers_say_how_they_are(doors: Jobs, db: Database) -> None:
    assert all(service.is_overdue and service.age is None for service in doors.services())
    id = workers.register(db, "worker@here", 7, ["celery"])
    (worker,) = doors.workers()
    assert (worker.id, worker.hostname, worker.queues, worker.is_alive) == (id, "worker@here", ["celery"], True)
