"""The app of the failpoint matrix: one task that notes each of its runs, and nothing that runs by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from celery.exceptions import Reject

from tests.apps import make_app

if TYPE_CHECKING:
    from celery import Celery

NEVER = 3600.0
"""Seconds; no service runs by itself within a case, and what is shifted by so much is overdue."""

HANG_SECONDS = 1.0
SAFE_SECONDS = 0.5
"""Seconds after which an attempt checks its lease: one that hung has to."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case takes place."""

    broker_url: str
    database_url: str
    folder: Path


def make_shop(place: Place, knows_work: bool = True) -> Celery:
    """The app, in the test and in each process of a case."""
    app = make_app(
        place.broker_url,
        place.database_url,
        jobs_promote_interval=NEVER,
        jobs_redispatch_interval=NEVER,
        jobs_reap_interval=NEVER,
        jobs_heartbeat_interval=100,
        jobs_worker_timeout=100 + SAFE_SECONDS,
        worker_lost_wait=0.1,
        jobs_http_allowed_addresses=["127.0.0.0/8"],
    )
    if knows_work:
        app.task(name="work", shared=False)(work)
    app.finalize()
    return app


def work(file: str, *ways: str) -> str:
    """Note a run in `file`, and end it in its way; the last way repeats."""
    with Path(file).open("a") as runs:
        runs.write("ran\n")
    way = ways[min(runs_noted(Path(file)), len(ways)) - 1]
    if way == "raise":
        raise RuntimeError("a run that is to fail")
    if way == "reject":
        raise Reject("a run that is to be given back", requeue=True)
    return way


def runs_noted(file: Path) -> int:
    """How often a task has run."""
    return len(file.read_text().splitlines()) if file.exists() else 0
