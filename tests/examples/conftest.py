"""The webhook product of `examples/`: its own code with a worker process, and its receiver."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from celery import _state
from redis import Redis
from sqlalchemy import make_url

from celery_jobs.plugin import plugin_of
from tests.conftest import shared_database
from tests.examples.terminal import EXAMPLES
from tests.processes import SOURCE, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from tests.examples.stories import Story

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

FIRST_BROKER_DATABASE = 4
"""Apart from those that other tests flush; one for each xdist worker."""


@pytest.fixture(scope="module")
def settings(
    request: pytest.FixtureRequest, valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The variables that the product is configured by."""
    xdist_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    broker = make_url(valkey).set(database=str(FIRST_BROKER_DATABASE + xdist_worker))
    broker_url = broker.render_as_string(hide_password=False)
    with Redis.from_url(broker_url) as client:
        client.flushdb()
    with shared_database(request, "postgresql", tmp_path_factory.mktemp("webhooks")) as database_url:
        yield {
            "CELERY_BROKER_URL": broker_url,
            "JOBS_DATABASE_URL": database_url,
            "WEBHOOK_SECRETS": SECRET,
            "WEBHOOK_ALLOWED_ADDRESSES": "127.0.0.1",
        }


@pytest.fixture(scope="module")
def worker(settings: dict[str, str], app: Celery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker with a prefork pool, as users run it."""
    with Worker(
        "tests.examples.app:app",
        tmp_path_factory.mktemp("webhooks-worker"),
        broker_url=settings["CELERY_BROKER_URL"],
        database_url=settings["JOBS_DATABASE_URL"],
        concurrency=4,
        queues=["webhooks"],
        env={**settings, "PYTHONPATH": os.pathsep.join(map(str, (SOURCE, SOURCE.parent, EXAMPLES)))},
    ) as worker:
        yield worker.wait_ready()


@pytest.fixture(scope="module")
def app(settings: dict[str, str]) -> Iterator[Celery]:
    """The product's app in this process, which publishes and looks."""
    before = _state._tls.current_app
    with _environment(settings):
        from tests.examples.app import app
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()
    _state._set_current_app(before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def story(app: Celery, worker: Worker) -> Iterator[Story]:
    """A receiver and a type of events of the story's own; after it the store must hold its invariants."""
    from tests.examples.stories import Story
    from webhooks.receiver import Receiver

    with Receiver([SECRET]) as receiver:
        serving = threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        story = Story(app, worker, receiver)
        yield story
        receiver.shutdown()
    assert story.jobs.check() == []
