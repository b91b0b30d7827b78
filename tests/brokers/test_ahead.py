"""A message is made while PostgreSQL stores its job, and is the same as one that is made afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Exchange, Queue
from redis import Redis

from celery_jobs import Jobs
from celery_jobs.ahead import Ahead
from celery_jobs.errors import StoreUnavailable
from celery_jobs.plugin import plugin_of
from celery_jobs.store import enqueue as store
from celery_jobs.store.sends import unsent_queues
from tests.apps import make_app
from tests.store.conftest import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

OWN = ("delivery_tag", "correlation_id", "reply_to")
OWN_HEADERS = ("id", "root_id", "celery_job")


def echo(value: Any) -> Any:
    return value


@pytest.fixture
def app(broker_url: str, new_postgresql_database: Callable[[], str]) -> Iterator[Celery]:
    own = Queue("own", Exchange("own", type="topic"), routing_key="own")  # Celery goes round a direct one
    app = make_app(broker_url, new_postgresql_database(), task_queues=[Queue("celery"), own])
    app.task(name="echo", shared=False)(echo)
    app.tasks["echo"].delay("first")  # connects
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Ahead]:
    """The messages that were made ahead, and sent."""
    noted: list[Ahead] = []
    send = Ahead.send

    def note(ahead: Ahead) -> None:
        noted.append(ahead)
        send(ahead)

    monkeypatch.setattr(Ahead, "send", note)
    return noted


def messages(broker_url: str) -> list[dict[str, Any]]:
    """Those that wait in the default queue, the newest first, of any priority."""
    with Redis.from_url(broker_url) as client:
        lists: Any = [name for name in client.keys("*celery*") if client.type(name) == b"list"]
        return [json.loads(text) for name in sorted(lists) for text in client.lrange(name, 0, -1)]


def without_its_own(message: dict[str, Any]) -> dict[str, Any]:
    headers = {name: value for name, value in message["headers"].items() if name not in OWN_HEADERS}
    properties = {name: value for name, value in message["properties"].items() if name not in OWN}
    return {**message, "headers": headers, "properties": properties}


def test_it_is_the_message_that_it_would_be(
    app: Celery, broker_url: str, sent: list[Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"priority": 3, "headers": {"of": "mine"}, "compression": "zlib"}
    made = app.tasks["echo"].apply_async(("ü",), **options)
    monkeypatch.setattr(Ahead, "make", lambda ahead: None)
    other = app.tasks["echo"].apply_async(("ü",), **options)
    assert len(sent) == 1
    afterwards, ahead = (next(m for m in messages(broker_url) if m["headers"]["id"] == r.id) for r in (other, made))
    assert without_its_own(ahead) == without_its_own(afterwards)
    assert ahead["headers"]["celery_job"] == made.job_id
    assert ahead["properties"]["delivery_tag"] != afterwards["properties"]["delivery_tag"]


def test_it_is_kept_back_where_no_job_was_stored(
    app: Celery, broker_url: str, sent: list[Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, before = Jobs(app), len(messages(broker_url))
    first = jobs.enqueue("echo", (1,), idempotency_key="once")
    assert (len(sent), len(messages(broker_url))) == (1, before + 1)
    again = jobs.enqueue("echo", (1,), idempotency_key="once")
    assert again.id == first.id

    def fails(*_: Any) -> None:
        raise StoreUnavailable("away")

    def refuse(*_: Any, meanwhile: Callable[[], None]) -> None:
        meanwhile()
        fails()

    pause(plugin_of(app).db, "celery")
    app.tasks["echo"].delay(2)
    monkeypatch.setattr(store, "enqueue", refuse)
    with pytest.raises(StoreUnavailable):
        app.tasks["echo"].delay(3)
    assert (len(sent), len(messages(broker_url))) == (1, before + 1)


@pytest.mark.parametrize(
    "options", [{"countdown": 30}, {"expires": 60}, {"queue": "own"}], ids=["delayed", "expiring", "of an exchange"]
)
def test_what_depends_on_the_row_or_on_an_exchange_is_made_afterwards(
    app: Celery, broker_url: str, sent: list[Ahead], options: dict[str, Any]
) -> None:
    result = app.tasks["echo"].apply_async((1,), **options)
    assert sent == []
    assert Jobs(app).get(result.id).attempts[0].sent_at is not None
    assert unsent_queues(plugin_of(app).db, 75) == []


def test_one_whose_connection_has_been_closed_is_sent_on_a_new_one(
    app: Celery, broker_url: str, sent: list[Ahead]
) -> None:
    before = len(messages(broker_url))
    with Redis.from_url(broker_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    app.tasks["echo"].delay(1)
    app.tasks["echo"].delay(2)
    assert len(messages(broker_url)) == before + 2
    assert len(sent) == 2
    assert unsent_queues(plugin_of(app).db, 75) == []


def test_its_connection_goes_back_whether_it_is_sent_or_not(app: Celery, sent: list[Ahead]) -> None:
    jobs = Jobs(app)
    for _ in range(3):
        jobs.enqueue("echo", (1,), idempotency_key="once")
        app.tasks["echo"].delay(2)
    assert len(sent) == 4
    with app.producer_or_acquire() as producer:
        assert producer.channel.pool._in_use_connections == set()


def test_who_traces_the_commands_of_redis_sees_it(
    app: Celery, broker_url: str, sent: list[Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute: Any = Redis.execute_command
    seen: list[Any] = []

    def traced(client: Redis, *command: Any, **options: Any) -> Any:
        seen.append(command[0])
        return execute(client, *command, **options)

    before = len(messages(broker_url))
    monkeypatch.setattr(Redis, "execute_command", traced)
    app.tasks["echo"].delay(2)
    assert (len(sent), seen) == (1, ["LPUSH"])
    monkeypatch.undo()
    assert len(messages(broker_url)) == before + 1
