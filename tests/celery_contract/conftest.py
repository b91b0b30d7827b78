"""Apps for the tests of the seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import JobsError
from celery_jobs.plugin import plugin_of
from tests.apps import make_app

if TYPE_CHECKING:
    from celery import Celery

MakeApp = Callable[..., "Celery"]


@pytest.fixture
def new_app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[MakeApp]:
    """Makes apps on one broker and one SQLite database, and closes what they opened."""
    url = new_sqlite_database()
    made: list[Celery] = []

    def new(**options: Any) -> Celery:
        made.append(make_app(broker_url, url, **options))
        return made[-1]

    yield new
    for app in made:
        with suppress(JobsError):
            plugin_of(app).unchecked_db.dispose()
        app.close()


@pytest.fixture
def app(new_app: MakeApp) -> Celery:
    """One app with the plugin."""
    return new_app()
