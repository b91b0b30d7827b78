"""A pause waits for claims of jobs with limits that had begun before it, as for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, update

from celery_jobs.ids import new_id
from celery_jobs.store import pauses
from celery_jobs.store.reads import database_time
from celery_jobs.store.tables import jobs, places

if TYPE_CHECKING:
    from tests.limits.conftest import Floor


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_that_notes_its_place_is_seen_by_a_pause(floor: Floor) -> None:
    (job_id,) = floor.enqueue(concurrency_key="k")
    db = floor.plugin.db
    with db.transaction() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(send_count=1))
        connection.execute(insert(places).values(limit_name="key:k", job_id=job_id, lease_token=new_id()))
        assert pauses._are_updated_since(db, database_time(db))
    assert not pauses._are_updated_since(db, database_time(db))
