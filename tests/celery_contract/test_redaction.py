"""What `jobs_redact` names is masked in the texts that Celery itself shows of a job's arguments, never in the job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from tests.apps import make_app, working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database(), jobs_redact=["Password", "token"], task_send_sent_event=True)

    @app.task(name="accounts.login", shared=False)
    def login(user: str, password: str, options: Any = None) -> int:
        return len(password)

    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


def header(broker_url: str, name: str) -> str:
    """A header of the message that waits in the broker."""
    with Redis.from_url(broker_url) as client:
        (key,) = client.keys("celery*")
        found: Any = client.lrange(key, 0, -1)
    return str(json.loads(found[0])["headers"][name])


def test_the_texts_of_a_message_are_masked_by_parameter_and_by_key(app: Celery, broker_url: str) -> None:
    app.tasks["accounts.login"].delay("ada", "s3cret", options={"Token": "abc", "page": 1})
    assert header(broker_url, "argsrepr") == "('ada', '***')"
    assert header(broker_url, "kwargsrepr") == "{'options': {'Token': '***', 'page': 1}}"


def test_a_text_of_the_callers_own_is_masked_as_text(app: Celery, broker_url: str) -> None:
    app.tasks["accounts.login"].apply_async(("ada", "s3cret"), argsrepr="login(password='s3cret')")
    assert header(broker_url, "argsrepr") == "login(password=***)"


def test_the_task_gets_what_the_caller_gave(app: Celery) -> None:
    job_id = app.tasks["accounts.login"].delay("ada", "s3cret").job_id
    with working(app):
        wait_until(lambda: Jobs(app).get(job_id).has_ended)
    assert Jobs(app).get(job_id).result == 6


def test_the_event_of_a_sent_task_is_masked_too(app: Celery) -> None:
    heard: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-sent": heard.append})
        with receiver.consumer_context() as (listening, _, _):
            _heard(listening, heard)  # subscribes
            app.tasks["accounts.login"].delay("ada", "s3cret", {"token": "abc"})
            wait_until(lambda: _heard(listening, heard))
    assert heard[0]["args"] == "('ada', '***', {'token': '***'})"


def _heard(connection: Any, heard: list[Any]) -> bool:
    try:
        connection.drain_events(timeout=0.5)
    except OSError:
        return False
    return bool(heard)
