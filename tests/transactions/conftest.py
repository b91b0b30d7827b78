"""An app whose jobs are in the database that the caller's own rows are in."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs import JobsError
from celery_jobs.plugin import plugin_of
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    app = make_app(broker_url, database_url)
    yield app
    with suppress(JobsError):
        plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def charge(app: Celery) -> Any:
    @app.task(name="charge", shared=False)
    def charge(order: int) -> int:
        return order

    return charge


@pytest.fixture
def sent(broker_url: str) -> Iterator[Callable[[], int]]:
    """How many messages the broker holds, in the lists of any priority."""
    with Redis.from_url(broker_url) as client:
        yield lambda: sum(int(client.llen(key)) for key in client.scan_iter("celery*", _type="list"))
