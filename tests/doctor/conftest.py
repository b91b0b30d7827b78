"""One check at a time, on an app of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.doctor import CHECKS, Finding
from celery_jobs.plugin import Plugin, plugin_of
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

NOBODY = "memory://"
"""A broker for what asks none."""


def ask(plugin: Plugin, name: str) -> list[Finding]:
    """What the check of this name finds."""
    (check,) = (check for check in CHECKS if check.name == name)
    return check(plugin)


@pytest.fixture
def make(new_sqlite_database: Callable[[], str]) -> Iterator[Callable[..., Plugin]]:
    """Makes apps with a broker, a database and settings; gives their plugins."""
    made: list[Celery] = []

    def new(broker_url: str = NOBODY, database_url: str | None = None, **conf: Any) -> Plugin:
        made.append(make_app(broker_url, database_url or new_sqlite_database(), **conf))
        return plugin_of(made[-1])

    yield new
    for app in made:
        plugin_of(app).unchecked_db.dispose()
        app.close()


@pytest.fixture
def plugin(make: Callable[..., Plugin], database_url: str) -> Plugin:
    """An app on each of the databases, without a broker."""
    return make(database_url=database_url)
