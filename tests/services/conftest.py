"""An app on either database, and time that passes when told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs.plugin import Plugin, plugin_of
from celery_jobs.services import Service, make_service
from tests.apps import end, make_app
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    app = make_app(broker_url, database_url, jobs_promote_batch=10)

    @app.task(name="services.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    app.finalize()
    yield app
    end(app)


@pytest.fixture
def plugin(app: Celery) -> Plugin:
    return plugin_of(app)


@pytest.fixture
def service(plugin: Plugin) -> Callable[[str], Service]:
    """A service by its name."""
    return lambda name: make_service(plugin, name)


@pytest.fixture
def depth(broker_url: str) -> Iterator[Callable[[], int]]:
    """How many messages lie in the default queue, over its four lists."""
    with Redis.from_url(broker_url) as client:
        lists: list[Any] = ["celery", *(f"celery\x06\x16{level}" for level in (3, 6, 9))]
        yield lambda: sum(int(client.llen(name)) for name in lists)


@pytest.fixture
def later(plugin: Plugin) -> Callable[[float], None]:
    """Lets so many seconds pass."""
    return lambda seconds: shift(plugin.db, seconds)
