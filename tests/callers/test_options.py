"""Every option of `apply_async`: message and request are those of bare Celery, in each attempt."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery.app.task import Task
from kombu import Exchange, Queue
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.plugin import plugin_of
from tests.apps import make_app
from tests.callers.office import PLAIN, nothing
from tests.conftest import shared_broker
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

pytestmark = pytest.mark.xdist_group("callers")

SOON = timedelta(seconds=0.2)

OPTIONS: dict[str, Callable[[Celery, Any], dict[str, Any]]] = {
    "none": lambda app, own: {},
    "args": lambda app, own: {"args": (), "kwargs": {"x": [1, "two", None, 4.5]}},
    "countdown": lambda app, own: {"countdown": SOON.total_seconds()},
    "eta": lambda app, own: {"eta": datetime.now(UTC) + SOON},
    "an eta that has passed": lambda app, own: {"eta": datetime(2020, 1, 1, tzinfo=UTC)},
    "expires in seconds": lambda app, own: {"expires": 3600},
    "expires at a time": lambda app, own: {"expires": datetime(2100, 1, 1, tzinfo=UTC)},
    "shadow": lambda app, own: {"shadow": "dark"},
    "retry": lambda app, own: {"retry": False},
    "retry_policy": lambda app, own: {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0}},
    "time_limit": lambda app, own: {"time_limit": 30, "soft_time_limit": 20},
    "queue": lambda app, own: {"queue": "callers.named"},
    "queue as an object": lambda app, own: {"queue": app.amqp.queues["callers.named"]},
    "exchange": lambda app, own: {"exchange": "callers.exchange", "routing_key": "callers.key"},
    "exchange as an object": lambda app, own: {
        "exchange": Exchange("callers.exchange", "direct"),
        "routing_key": "callers.key",
    },
    "exchange_type": lambda app, own: {"exchange_type": "direct"},
    "priority": lambda app, own: {"priority": 3},
    "serializer": lambda app, own: {"serializer": "yaml"},
    "compression": lambda app, own: {"compression": "gzip"},
    "link": lambda app, own: {"link": app.tasks["nothing"].s()},
    "link_error": lambda app, own: {"link_error": [app.tasks["nothing"].s(), app.tasks["nothing"].si()]},
    "headers": lambda app, own: {"headers": {"mine": "x", "nested": {"a": [1]}}},
    "task_id": lambda app, own: {"task_id": f"my id {datetime.now(UTC)}"},
    "ignore_result": lambda app, own: {"ignore_result": False},
    "add_to_parent": lambda app, own: {"add_to_parent": False},
    "reply_to": lambda app, own: {"reply_to": "me", "correlation_id": "zz"},
    "properties": lambda app, own: {"message_id": "m", "app_id": "a", "user_property": 3},
    "argsrepr": lambda app, own: {"argsrepr": "<a>", "kwargsrepr": "<k>"},
    "delivery_mode": lambda app, own: {"delivery_mode": "transient"},
    "declare": lambda app, own: {"declare": []},
    "mandatory": lambda app, own: {"mandatory": True, "timeout": 3, "confirm_timeout": 3},
    "parent_id": lambda app, own: {"root_id": "r", "parent_id": "p", "group_id": "g", "group_index": 0},
    "stamped_headers": lambda app, own: {"stamped_headers": ["customer"], "customer": "c-7"},
    "connection": lambda app, own: {"connection": own},
    "producer": lambda app, own: {"producer": app.amqp.Producer(own)},
    "publisher": lambda app, own: {"publisher": app.amqp.Producer(own)},
    "route_name": lambda app, own: {"route_name": "elsewhere"},
}


def called(app: Celery, name: str, option: str, **kwargs: Any) -> Any:
    """A call with this option, of a caller that has a connection of its own."""
    with app.connection_for_write() as own:
        options = OPTIONS[option](app, own)
        return app.tasks[name].apply_async(**{**options, "kwargs": {**options.get("kwargs", {}), **kwargs}})


def comparable(value: Any, result: Any) -> Any:
    """Without ids and moments, which differ by their nature."""
    text = json.dumps(value, sort_keys=True).replace(str(result.id), "ID")
    return json.loads(re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "MOMENT", text))


@pytest.fixture(scope="module")
def apps(valkey: str, office_folder: Path, sqlite_template: Path) -> Iterator[tuple[Celery, Celery]]:
    """Two apps on one broker, one of them without the plugin, and no worker."""
    shutil.copyfile(sqlite_template, office_folder / "messages.sqlite3")
    named = Queue("callers.named", Exchange("callers.exchange", "direct"), routing_key="callers.key")
    broker_url, made = shared_broker(valkey, "postgresql"), []
    for install in (False, True):
        url, queues = f"sqlite:///{office_folder / 'messages.sqlite3'}", [Queue("celery"), named]
        app = make_app(broker_url, url, install=install, task_queues=queues, jobs_broker_priorities=False)
        app.task(name="look", shared=False, typing=False)(nothing)
        app.task(name="nothing", shared=False)(nothing)
        made.append(app)
    with made[0].connection_for_write() as connection:
        named(connection.default_channel).declare()
    yield made[0], made[1]
    plugin_of(made[1]).unchecked_db.dispose()
    for app in made:
        app.close()


@pytest.mark.parametrize("option", OPTIONS)
def test_the_message_is_as_celery_makes_it_but_for_our_mark(apps: tuple[Celery, Celery], option: str) -> None:
    bare, ours = (message(app, option) for app in apps)
    assert ours["headers"].pop(JOB_HEADER) is not None
    assert ours == bare


def test_every_option_that_celery_documents_is_tried_here(apps: tuple[Celery, Celery]) -> None:
    documented = re.findall(r"^ {4}(\w+) \(", inspect.cleandoc(Task.apply_async.__doc__), re.MULTILINE)
    with apps[0].connection_for_write() as own:
        tried = {name for options in OPTIONS.values() for name in options(apps[0], own)}
    assert len(documented) > 20
    assert set(documented) - tried == set()


def message(app: Celery, option: str) -> Any:
    """What a call puts into the broker, without what differs by its nature."""
    result = called(app, "look", option)
    with Redis.from_url(app.conf.broker_url) as client:
        keys = [key for queue in ("celery", "callers.named") for key in client.keys(f"{queue}*") if b"task" not in key]
        ((found,),) = (client.lrange(key, 0, -1) for key in keys)
        client.delete(*keys)
    made = json.loads(found)
    del made["headers"]["origin"], made["properties"]["delivery_tag"]
    if "reply_to" not in option:
        del made["properties"]["reply_to"]
    made["properties"].pop("expiration", None)
    return comparable(made, result)


SEEN = [
    *("none", "args", "countdown", "eta", "an eta that has passed", "expires in seconds", "shadow", "time_limit"),
    *("queue", "exchange", "priority", "serializer", "compression", "link", "link_error", "headers", "task_id"),
    *("reply_to", "argsrepr", "parent_id", "stamped_headers"),
]
"""Options that a task can notice."""


@pytest.fixture(scope="package")
def requests(open_office: Celery) -> dict[tuple[str, str], Any]:
    """Each call's result, of bare Celery's task and of a job that works at its second attempt."""
    calls = {"bare": (PLAIN + "look", 1), "job": ("look", 2)}
    return {
        (kind, option): called(open_office, name, option, attempt=attempt)
        for option in SEEN
        for kind, (name, attempt) in calls.items()
    }


BY_NATURE = {"kwargs", "kwargsrepr", "properties"}
"""What differs: the number of the attempt is an argument here; `properties` has a delivery tag, and the rest twice."""


@pytest.mark.parametrize("option", SEEN)
def test_a_retry_sees_the_request_that_celery_would_show_a_first_attempt(
    office: Celery, requests: dict[tuple[str, str], Any], option: str
) -> None:
    results = [requests[kind, option] for kind in ("bare", "job")]
    bare, job = (comparable(result.get(timeout=30), result) for result in results)
    del bare["eta"], job["eta"]  # a retry has a time of its own
    assert {key: job[key] for key in job.keys() - BY_NATURE} == {key: bare[key] for key in bare.keys() - BY_NATURE}
    run = wait_until(lambda: (run := Jobs(office).get(results[1].id)).has_ended and run)
    assert (run.final_status, run.attempt_number) == ("success", 2)
    assert {row.queue for row in run.attempts} == {"callers.named" if option in ("queue", "exchange") else "callers"}


def test_a_result_that_is_not_kept_is_in_the_jobs_history_all_the_same(office: Celery) -> None:
    result = office.tasks["echo"].apply_async((5,), ignore_result=True)
    run = wait_until(lambda: (run := Jobs(office).get(result.job_id)).has_ended and run)
    assert (run.final_status, run.result) == ("success", 5)
    assert result.state == "PENDING"


def test_each_attempt_carries_its_own_mark_and_the_callers_headers(office: Celery) -> None:
    """Celery sends the headers of a task again when it retries itself: the mark of a job is not among them."""
    result = office.tasks["ask_again"].apply_async(("headers",), headers={"theirs": 2})
    value = result.get(timeout=30)
    assert (value["headers"], JOB_HEADER in value["headers"]) == ("{'mine': 1}", False)
    run = wait_until(lambda: (run := Jobs(office).get(result.job_id)).has_ended and run)
    assert [row.status for row in run.attempts] == ["failed", "completed"]


def test_tasks_of_another_class_are_bare_celerys(office: Celery) -> None:
    assert isinstance(office.tasks[PLAIN + "look"], Task)
    assert not Jobs(office).count(task=PLAIN + "look")
