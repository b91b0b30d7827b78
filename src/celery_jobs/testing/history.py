"""Every run of a sandbox as it is stored, nothing masked. Reads only."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import select

from celery_jobs.runs import make_run
from celery_jobs.store.rows import JOB_COLUMNS, Job
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from celery_jobs.runs import Run
    from celery_jobs.store.db import Database

__all__ = ["all_runs"]


def all_runs(db: Database) -> list[Run]:
    """The runs, oldest first, whatever has become of them."""
    query = select(*(jobs.c[name] for name in JOB_COLUMNS)).order_by(jobs.c.original_id, jobs.c.attempt_number)
    with db.asking() as connection:
        rows = [Job(**row._mapping) for row in connection.execute(query)]
    return [make_run(list(chain)) for _, chain in groupby(rows, key=lambda job: job.original_id)]
