"""An app on either database, and schedulers of beat's whose clocks are told what time it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.app.task import Task

from celery_jobs import Jobs
from celery_jobs.plugin import Plugin, plugin_of
from tests.apps import end, make_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs.store.db import Database


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    app = make_app(broker_url, database_url)

    @app.task(name="close", shared=False)
    def close(shop: int = 1) -> int:
        return shop

    @app.task(name="plain", base=Task, shared=False)
    def plain() -> None: ...

    app.finalize()
    yield app
    end(app)


@pytest.fixture
def plugin(app: Celery) -> Plugin:
    return plugin_of(app)


@pytest.fixture
def db(plugin: Plugin) -> Database:
    return plugin.db


@pytest.fixture
def jobs(app: Celery) -> Jobs:
    return Jobs(app)


def made(jobs: Jobs, **where: Any) -> list[str]:
    """What the jobs there are were called with, oldest first."""
    return [str(jobs.arguments(run.id)) for run in reversed(jobs.list(**where).runs)]
