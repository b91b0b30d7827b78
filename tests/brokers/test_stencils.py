"""Copies of the messages that kombu makes are what kombu would make, and only where nobody looks at each."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import wrapt
from kombu import Producer, Queue
from kombu.common import Broadcast
from kombu.transport.redis import Channel, PublishBatch
from redis import Redis

from celery_jobs import sending
from celery_jobs.envelope import capture
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.stencils import MOST_AT_ONCE, NoCopies, copies_of
from celery_jobs.store.rows import Message, Outgoing
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.sending import Sender

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=30)
HERE = "jobs:q\x06\x166"


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Any) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database())
    app.conf.broker_transport_options = {"global_keyprefix": "jobs:"}
    yield app
    app.close()


@pytest.fixture
def sender(app: Celery) -> Sender:
    return sending.sender_of(plugin_of(app))


@pytest.fixture
def pushed(broker_url: str) -> Iterator[Callable[[], dict[str, list[str]]]]:
    """What has been pushed since the last time, by list, the delivery tags apart: they are nobody's twice."""
    with Redis.from_url(broker_url, decode_responses=True) as client:

        def take() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            names: Any = client.keys("jobs:*")
            for name in (name for name in names if client.type(name) == "list"):
                texts: Any = client.lrange(name, 0, -1)
                client.delete(name)
                found[name] = [_without_tag(text) for text in reversed(texts)]
            return found

        yield take


TAGS: set[str] = set()


def _without_tag(text: str) -> str:
    tag = json.loads(text)["properties"]["delivery_tag"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", tag)
    assert tag not in TAGS
    TAGS.add(tag)
    return text.replace(tag, "TAG")


def _job(number: int = 0, headers: dict[str, Any] | None = None, task_id: str | None = None, **about: Any) -> Outgoing:
    """A job whose message Celery could have made."""
    id = new_id()
    task_id = id if task_id is None else task_id
    made = {"lang": "py", "task": "shop.charge", "id": task_id, "shadow": None, "eta": None, "expires": None}
    more: dict[str, Any] = {
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": f"({number}, 'é')",
        "stamps": {},
    }
    options = {
        "headers": {**made, **more, **(headers or {})},
        "routing_key": about.get("queue", "q"),
        "correlation_id": task_id,
        "reply_to": "r",
        "priority": about.get("level", 6),
        **about.pop("options", {}),
    }
    about.pop("level", None)
    message = capture([[number, "é"], {}, {"callbacks": None}], options, 1_048_576)
    known: dict[str, Any] = {"queue": "q", "task": "shop.charge", "task_id": task_id, "retries": 0, "priority": 0}
    times: dict[str, Any] = {"due_at": None, "sent_at": NOW, "expires_at": None}
    return Outgoing(job_id=id, message=message, **{**known, **times, **about})


def _with_headers(job: Outgoing, text: str) -> Outgoing:
    return replace(job, message=replace(job.message, headers=text))


FAKE = '", "eta": "2020-01-01T00:00:00+00:00", "retries": 7, "celery_job'
INSIDE = {"eta": None, "expires": None, "retries": 7, "rest": 1}
COPIED: dict[str, list[Outgoing]] = {
    "plain": [_job(number) for number in range(3)],
    "levels": [_job(number, level=level) for number, level in enumerate((0, 3, 6, 9, 6, 6, 0))],
    "queues": [_job(1), _job(2, queue="other"), _job(3)],
    "exchange": [_job(n, options={"exchange": "celery", "routing_key": "celery"}, queue="celery") for n in range(2)],
    "serializers": [_job(1), _job(2, options={"serializer": "pickle"}), _job(3, options={"serializer": "yaml"})],
    "due later": [_job(1, due_at=SOON), _job(2, {"eta": SOON.isoformat()}, due_at=SOON)],
    "due before": [_job(1, {"eta": "2026-02-01T00:00:00+00:00"}), _job(2, {"eta": "2026-02-01T00:00:00"}), _job(3)],
    "due after all": [_job(1, {"eta": "2026-04-01T00:00:00+00:00"}), _job(2)],
    "expires": [_job(1, expires_at=SOON), _job(2, {"expires": SOON.isoformat()}), _job(3)],
    "retries": [_job(1, retries=3), _job(2, {"retries": 2}, retries=12), _job(3)],
    "ids": [_job(1, task_id='an "é" of mine\n'), _job(2, task_id="q"), _job(3, task_id="")],
    "looks like headers": [_job(1, {"shadow": FAKE}), _job(2, {"lang": FAKE}), _job(3, {"argsrepr": FAKE})],
    "nested": [_job(1, {"lang": INSIDE}), _job(2, {"group": INSIDE}), _job(3, {"stamps": INSIDE})],
    "marked": [_job(1, {"celery_job": "other"}), _job(2)],
    "typed": [_job(1, {"at": NOW, "raw": b"\xff"}), _job(2, {"shadow": "é"})],
    "few headers": [_with_headers(_job(1), "{}"), _with_headers(_job(2), '{"retries": 0}'), _job(3)],
    "not ASCII": [_with_headers(_job(1), _job(1).message.headers.replace("\\u00e9", "é")), _job(2)],
}


@pytest.mark.parametrize("jobs", COPIED.values(), ids=COPIED)
def test_a_copy_is_what_kombu_makes(
    sender: Sender, pushed: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, jobs: list[Outgoing]
) -> None:
    seen = _count(monkeypatch)
    assert sender.send(jobs) == len(jobs)
    copies = pushed()
    kinds = {(json.loads(job.message.properties)["priority"], job.message.content_type, job.queue) for job in jobs}
    assert sum(map(len, copies.values())) == len(jobs)
    assert len(seen) == len(kinds)
    _refuse(monkeypatch)
    assert sender.send(jobs) == len(jobs)
    assert pushed() == copies


def _count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queues of the jobs that kombu makes a message of."""
    seen: list[str] = []
    message_of = sending.Sender.message

    def note(self: Any, producer: Any, job: Outgoing) -> Any:
        seen.append(job.queue)
        return message_of(self, producer, job)

    monkeypatch.setattr(sending.Sender, "message", note)
    return seen


def _refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise NoCopies

    monkeypatch.setattr(sending, "copies_of", refuse)


def test_large_messages_go_in_several_commands(sender: Sender, pushed: Callable[[], Any]) -> None:
    jobs = [replace(job, message=_large(job.message)) for job in COPIED["plain"]]
    assert sender.send(jobs) == 3
    assert [json.loads(text)["headers"]["id"] for text in pushed()[HERE]] == [job.task_id for job in jobs]


def _large(message: Message) -> Message:
    return replace(message, body=b"x" * (MOST_AT_ONCE // 2))


OTHER_WAYS = {
    "compressed": [_job(n, options={"compression": "gzip"}) for n in range(2)],
    "lives for a time": [_job(n, options={"expiration": 60}, expires_at=SOON) for n in range(2)],
    "correlated otherwise": [_job(n, options={"correlation_id": "mine"}) for n in range(2)],
}


@pytest.mark.parametrize("jobs", OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_kombu_makes_what_differs_in_more(sender: Sender, pushed: Callable[[], Any], jobs: list[Outgoing]) -> None:
    with sender.plugin.app.producer_or_acquire() as producer, pytest.raises(NoCopies):
        copies_of(producer, jobs, lambda job: sender.message(producer, job))
    assert sender.send(jobs) == 2
    assert len(pushed()[HERE]) == 2


WATCHED = [
    *((Producer, name) for name in ("publish", "_publish")),
    *((Channel, name) for name in ("basic_publish", "prepare_message", "_put")),
    (PublishBatch, "publish"),
]


@pytest.mark.parametrize(("owner", "name"), WATCHED, ids=[f"{owner.__name__}.{name}" for owner, name in WATCHED])
def test_who_stands_in_for_kombu_sees_each(
    sender: Sender, pushed: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    original, seen = getattr(owner, name), []

    def watch(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(name)
        return original(self, *args, **options)

    monkeypatch.setattr(owner, name, watch)
    assert sender.send(COPIED["plain"]) == 3
    assert len(seen) == len(pushed()[HERE]) == 3


def test_who_wraps_kombu_sees_each(sender: Sender, pushed: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrapper that shows the code of what it wraps, as those of tracing libraries do."""
    seen: list[Any] = []

    def watch(wrapped: Any, instance: Any, args: Any, options: Any) -> Any:
        seen.append(args)
        return wrapped(*args, **options)

    monkeypatch.setattr(Producer, "publish", wrapt.FunctionWrapper(Producer.publish, watch))
    assert sender.send(COPIED["plain"]) == 3
    assert len(seen) == len(pushed()[HERE]) == 3


def test_kombu_makes_what_goes_to_a_queue_that_expires(sender: Sender, pushed: Callable[[], Any]) -> None:
    sender.plugin.app.amqp.queues.add(Queue("q", queue_arguments={"x-expires": 60_000}))
    with sender.plugin.app.producer_or_acquire() as producer, pytest.raises(NoCopies):
        copies_of(producer, COPIED["plain"], lambda job: sender.message(producer, job))
    assert sender.send(COPIED["plain"]) == 3
    assert len(pushed()[HERE]) == 3


def test_a_broadcast_makes_no_queue_that_nobody_reads(sender: Sender) -> None:
    broadcast = Broadcast("all")
    sender.plugin.app.amqp.queues.add(broadcast)
    with sender.plugin.app.producer_or_acquire() as producer:
        _, options = sender.message(producer, _job(queue=broadcast.name, options={"exchange": "all"}))
    assert options["declare"] == [broadcast.exchange]
