"""The course of a run: everything is up, faults strike, all is healed, the rest drains, the checker judges."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from celery_jobs.errors import StoreUnavailable
from celery_jobs.states import LIVE
from celery_jobs.store.tables import jobs
from tests.chaos.checker import check
from tests.chaos.nemesis import strike
from tests.chaos.report import Report
from tests.chaos.stage import PRODUCERS, Stage
from tests.chaos.tables import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.store.db import Database
    from tests.chaos.plan import Plan

__all__ = ["folder_of_a_run", "run", "trouble"]

STILL = 1.0
"""Seconds in which nothing may be left, for all to be drained."""


@contextmanager
def folder_of_a_run(keep: bool = False) -> Iterator[Path]:
    """A folder for a run's log and servers, removed in the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="celery-jobs-chaos-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def run(plan: Plan, folder: Path) -> Report:
    """Make a run and judge it."""
    begun = time.monotonic()
    with Stage(folder, plan) as stage:
        assert stage.db is not None
        trouble(stage)
        drained = _drain(stage, stage.db)
        evidence = gather(stage.db, stage.log_file)
    return Report(plan, evidence, check(evidence), drained, time.monotonic() - begun)


def trouble(stage: Stage) -> None:
    """Produce and strike for the plan's time, heal, and ask every worker for a sign of life."""
    stage.start_producers()
    assert len(stage.producers) == PRODUCERS
    strike(stage, random.Random(stage.plan.seed), time.monotonic() + stage.plan.seconds)
    stage.await_producers()
    stage.supervise()
    stage.probe()


def _drain(stage: Stage, db: Database) -> float | None:
    """Wait until nothing is left to do; the seconds that it took, None where something is left at the bound."""
    begun = time.monotonic()
    empty_since: float | None = None
    while time.monotonic() - begun < stage.plan.drain:
        stage.supervise()
        if _is_empty(db):
            empty_since = empty_since or time.monotonic()
            if time.monotonic() - empty_since > STILL:
                return empty_since - begun
        else:
            empty_since = None
        time.sleep(0.1)
    return None


def _is_empty(db: Database) -> bool:
    unended = and_(jobs.c.attempt_number == 1, jobs.c.ended_at.is_(None))
    query = select(func.count()).where(or_(jobs.c.status.in_(LIVE), jobs.c.untold_at.is_not(None), unended))
    try:
        with db.reading() as connection:
            return connection.execute(query).scalar_one() == 0
    except StoreUnavailable:
        return False
