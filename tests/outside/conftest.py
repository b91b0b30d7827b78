"""An app with a queue for outside workers on either database, and time that passes when told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store.tables import jobs as rows
from tests.apps import end, make_app
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.outside import ClaimedJob
    from celery_jobs.store.db import Database

QUEUE, PLAIN, OTHER = "thumbnails", "plain", "others"
ADD = "outside.add"
ANNE, BEN = "anne", "ben"
DELAYS = [60, 1800]
HOOK = "https://shop.example/hook"

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database makes different."""


def make_pulling_app(broker_url: str, database_url: str, **conf: Any) -> Celery:
    """An app with a task, and queues for outside workers: one that retries, one that does not."""
    queues = {
        QUEUE: {"mode": "pull", "retry_delays": DELAYS},
        PLAIN: {"mode": "pull", "retries_enabled": False},
        OTHER: {"mode": "pull"},
    }
    app = make_app(broker_url, database_url, jobs_queues=queues, **conf)

    @app.task(name=ADD, bind=True, shared=False)
    def add(self: Any, x: int, y: int = 0) -> int:
        return x + y

    app.finalize()
    return app


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    app = make_pulling_app(broker_url, database_url)
    yield app
    end(app)


@pytest.fixture
def doors(app: Celery) -> Jobs:
    """The verbs of the app."""
    return Jobs(app)


@pytest.fixture
def db(app: Celery) -> Database:
    return plugin_of(app).db


@pytest.fixture
def later(db: Database) -> Callable[[float], None]:
    """Lets so many seconds pass."""
    return lambda seconds: shift(db, seconds)


@pytest.fixture
def session(app: Celery) -> Iterator[Session]:
    """A transaction of the caller's own in the jobs' database."""
    engine = create_engine(app.conf.jobs_database_url)
    with Session(engine) as session:
        yield session
    engine.dispose()


def claim(doors: Jobs, worker_id: str = ANNE, **options: Any) -> ClaimedJob:
    """Claim the one job that there is."""
    (job,) = doors.claim(QUEUE, worker_id, **options)
    return job


def begin(doors: Jobs, payload: Any = None, **options: Any) -> ClaimedJob:
    """Enqueue a payload, which Anne claims."""
    doors.enqueue_payload(QUEUE, payload, **options)
    return claim(doors)


def sends(db: Database) -> set[tuple[Any, int]]:
    """When the jobs were sent, and how often: all of them."""
    with db.reading() as connection:
        return {(row.sent_at, row.send_count) for row in connection.execute(rows.select())}
