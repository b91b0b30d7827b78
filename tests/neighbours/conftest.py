"""What the stories of the neighbours share: apps with the plugin on one broker and one SQLite file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.events import Event, Kind, subscribe, unsubscribe
from celery_jobs.plugin import plugin_of
from celery_jobs.sending import sender_of
from celery_jobs.store import sends
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


@pytest.fixture
def new_app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Callable[..., Celery]]:
    """Makes apps with the plugin, and closes what they opened."""
    url = new_sqlite_database()
    made: list[Celery] = []

    def new(**conf: Any) -> Celery:
        made.append(make_app(broker_url, url, **conf))
        return made[-1]

    yield new
    for app in made:
        plugin_of(app).unchecked_db.dispose()
        app.close()


@contextmanager
def hearing(kind: Kind) -> Iterator[list[Event]]:
    """The events of a kind that happen in this process inside."""
    heard: list[Event] = []

    def hear(event: Event) -> None:
        if event.kind is kind:
            heard.append(event)

    subscribe(hear)
    yield heard
    unsubscribe(hear)


def send_again(app: Celery, job_id: str) -> None:
    """Put a second message of a job into its queue."""
    plugin = plugin_of(app)
    assert sender_of(plugin).send(sends.fetch(plugin.db, [job_id])) == 1
