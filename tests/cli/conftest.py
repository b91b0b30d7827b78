"""An app on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from celery_jobs import Jobs
from celery_jobs.cli import bulk, jobs
from celery_jobs.plugin import plugin_of
from tests.apps import working
from tests.callbacks.receiver import Receiver
from tests.cli.shop import make_shop
from tests.cli.terminal import Shell
from tests.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

Run = Callable[..., Result]
Kill = Callable[..., list[str]]


class Context:
    """What Celery's own command hands to its subcommands."""

    def __init__(self, app: Celery) -> None:
        self.app = app


def lines(output: str) -> list[dict[str, Any]]:
    """The objects of a JSON output."""
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_shop(broker_url, new_sqlite_database())
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where callbacks and alerts go."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def run(app: Celery) -> Run:
    """Runs `celery -A app jobs …`; its Result has stdout, stderr and exit_code."""

    def invoke(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(jobs, list(arguments), obj=Context(app), **options)

    return invoke


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to answer questions."""
    monkeypatch.setattr(bulk, "can_ask", lambda: True)


@pytest.fixture
def kill(app: Celery) -> Kill:
    """Makes dead letters, one of each reason; gives their ids in that order."""

    def make(*reasons: str, **options: Any) -> list[str]:
        ids = [str(app.tasks["cli.fail"].apply_async((reason,), **options).job_id) for reason in reasons]
        with working(app, queues=["celery", "plain"]):
            wait_until(lambda: all(Jobs(app).get(id).has_ended for id in ids))
        return ids

    return make


@pytest.fixture
def dead(kill: Kill) -> str:
    """The id of a dead letter."""
    return kill("no stock")[0]


@pytest.fixture
def shell(app: Celery, broker_url: str, tmp_path: Path) -> Shell:
    """Runs `celery -A app jobs …` as processes of their own."""
    return Shell(broker_url, app.conf.jobs_database_url, tmp_path)
