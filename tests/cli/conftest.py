"""An app on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from celery_jobs.cli import jobs
from celery_jobs.plugin import plugin_of
from tests.apps import make_app

if TYPE_CHECKING:
    from celery import Celery

Run = Callable[..., Result]


class Context:
    """What Celery's own command hands to its subcommands."""

    def __init__(self, app: Celery) -> None:
        self.app = app


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    """An app with two tasks, of which one always fails."""
    app = make_app(broker_url, new_sqlite_database(), jobs_queue_defaults={"retry_delays": []})

    @app.task(name="cli.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="cli.fail", shared=False)
    def fail(reason: str) -> None:
        raise ValueError(reason)

    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def run(app: Celery) -> Run:
    """Runs `celery -A app jobs …`; its Result has stdout, stderr and exit_code."""

    def invoke(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(jobs, list(arguments), obj=Context(app), **options)

    return invoke
