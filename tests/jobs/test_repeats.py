"""A call like earlier ones is a copy of their job: the row and the message are those that Celery would make."""

from __future__ import annotations

import gc
import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery import signals
from celery._state import _task_stack
from celery.utils.saferepr import saferepr
from kombu import Queue
from kombu.utils import json as kombu_json
from sqlalchemy import select

from celery_jobs import Jobs, PayloadNotSerializable, PayloadTooLarge, StoreUnavailable, publishing, repeats, sending
from celery_jobs.batch import Gathered
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.plugin import plugin_of
from celery_jobs.publisher import published_by
from celery_jobs.sending import Sender, sender_of
from celery_jobs.store.tables import jobs, messages
from tests.apps import make_app
from tests.jobs.conftest import ADD, Broker, count, pause
from tests.jobs.test_templates import ARGUMENTS, stored
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery
    from celery.result import AsyncResult

    from celery_jobs.store.db import Database

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "queue": {"queue": "mail"},
    "priority": {"priority": 7},
    "our priority": {"job_priority": 12},
    "serializer": {"serializer": "yaml"},
    "compression": {"compression": "gzip"},
    "no result": {"ignore_result": True},
    "limits": {"time_limit": 9, "soft_time_limit": 8},
    "policy": {"max_attempts": 2},
    "callback": {"callback_url": "https://example.com/hook"},
    "concurrency": {"concurrency_key": "c", "concurrency_limit": 2},
    "shadow": {"shadow": "another"},
    "way": {"exchange": "", "routing_key": "elsewhere"},
    "nothing said": {"expires": None, "link": None},
    "delay": {"delay": 90},
    "countdown": {"countdown": 90},
    "expires": {"expires": 600},
    "key": {"idempotency_key": "k"},
    "tags": {"tags": ["a"]},
    "headers": {"headers": {"tenant": "t"}},
    "reply": {"reply_to": "somebody"},
}
NOT_COPIED = frozenset({"delay", "countdown", "expires", "key", "tags", "headers", "reply"})


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    return new_app(jobs_redact=["password", "token"], accept_content=["json", "yaml"])


def call(app: Celery, number: int = 1, **options: Any) -> list[AsyncResult[Any]]:
    return [app.tasks[ADD].apply_async((n,), **options) for n in range(number)]


def sent(broker: Broker, *queues: str) -> list[dict[str, Any]]:
    """What lies in the broker, apart from what no two messages have in common."""
    found = [message for queue in queues for message in broker.messages(queue)]
    for message in found:
        headers, properties = message["headers"], message["properties"]
        for name in ("id", "root_id", JOB_HEADER):
            del headers[name]
        for name in ("correlation_id", "delivery_tag"):
            del properties[name]
        headers["expires"] = headers["expires"] is not None
    return sorted(found, key=json.dumps)


@pytest.mark.parametrize("database_url", BOTH, indirect=True)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_copy_is_what_celery_makes(
    app: Celery, db: Database, broker: Broker, made: list[str], options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call_all() -> tuple[list[Any], list[Any]]:
        for number, (args, kwargs) in enumerate([((1,), {}), ((2,), {}), *ARGUMENTS.values()]):
            own = {"idempotency_key": f"k{number}"} if options == "key" else {}
            app.tasks[ADD].apply_async(tuple(args), kwargs, **{**OPTIONS[options], **own})
        return stored(db), sent(broker, "celery", "mail", "elsewhere")

    copies = call_all()
    # The first, which may make its queue known, and the one after it once for all that follow.
    learned = 3 if "queue" in OPTIONS[options] else 2
    assert len(made) == (2 + len(ARGUMENTS) if options in NOT_COPIED else learned)
    with db.transaction() as connection:
        connection.execute(jobs.delete())
        connection.execute(messages.delete())
    broker.clear()
    monkeypatch.setattr("celery_jobs.template.makes_as_ever", lambda plugin, name: False)
    assert call_all() == copies
    assert len(copies[0]) == 2 + len(ARGUMENTS)


def test_its_result_is_that_of_the_job(app: Celery, doors: Jobs, broker: Broker, made: list[str]) -> None:
    results = call(app, 5) + call(app, 3, ignore_result=True)
    assert len(made) == 4
    runs = [doors.get(result.job_id) for result in results]
    assert [run.task_id for run in runs] == [result.id for result in results]
    assert broker.jobs() == {run.id: 1 for run in runs}
    told = {(r.deduplicated, r.payload_mismatch, bool(r.ignored), type(r)) for r in results}
    assert told == {(False, False, ignored, type(results[0])) for ignored in (False, True)}


def test_what_a_call_enqueues_beside_itself_is_kept(app: Celery, db: Database, broker: Broker) -> None:
    """What its result, or the serializer of its arguments, enqueues."""
    other = app.tasks["jobs.total"]

    class Telling(app.AsyncResult):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            other.delay([1])

    for _ in range(4):
        app.send_task(ADD, (1,), result_cls=Telling)
    assert count(db) == broker.count() == 8


def test_arguments_that_can_be_read_but_once_are_read_once(
    new_app: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ("_encoders", "_decoders"):
        monkeypatch.setattr(kombu_json, known, dict(getattr(kombu_json, known)))
    kombu_json.register_type(type(iter([])), "list", list, list)
    app = new_app(accept_content=["json"])
    results = [app.tasks[ADD].delay(iter([n])) for n in range(4)]
    shown = [Jobs(app).arguments(r.job_id).args for r in results]
    assert shown == [([n],) for n in range(4)]


@pytest.mark.parametrize("database_url", BOTH, indirect=True)
def test_of_the_call_that_was_learned_nothing_large_stays(app: Celery) -> None:
    def kept() -> int:
        gc.collect()
        return sum(type(thing) is Gathered for thing in gc.get_objects())

    before = kept()
    call(app, 3)
    assert kept() == before


def test_a_call_by_name_is_copied_too(app: Celery, doors: Jobs, made: list[str]) -> None:
    results = [app.send_task(ADD, (n,), priority=3) for n in range(5)]
    assert len(made) == 2
    assert [doors.arguments(r.job_id).args for r in results] == [(n,) for n in range(5)]


def test_a_call_of_an_unknown_task_leaves_the_app_unfinished(
    broker_url: str, database_url: str, broker: Broker
) -> None:
    """As Celery does; an app that may not be finished on the way would raise."""
    app = make_app(broker_url, database_url)
    for _ in range(3):
        app.send_task("elsewhere")
    assert not app.finalized
    assert broker.count() == 3
    plugin_of(app).db.dispose()
    app.close()


# What makes the next call another


def _setting(app: Celery) -> None:
    app.conf.task_publish_retry = False


def _settings(app: Celery) -> None:
    app.config_from_object({"broker_url": app.conf.broker_url, **app.conf.changes})


def _queue(app: Celery) -> None:
    app.amqp.queues.add(Queue("another"))


def _task(app: Celery) -> None:
    task: Any = app.tasks[ADD]
    task.jobs_level = type(task.jobs_level)(max_attempts=1)


@pytest.mark.parametrize("change", [_setting, _settings, _queue, _task], ids=lambda change: change.__name__.strip("_"))
def test_what_a_call_depends_on_is_not_remembered(
    app: Celery, doors: Jobs, made: list[str], change: Callable[[Celery], None]
) -> None:
    call(app, 4)
    assert len(made) == 2
    change(app)
    results = call(app, 4)
    assert len(made) == 4
    if change is _task:
        assert {doors.get(r.job_id).max_attempts for r in results} == {1}


def test_an_object_with_settings_may_change(app: Celery, doors: Jobs, made: list[str]) -> None:
    """As those of Django do in its tests."""
    settings = SimpleNamespace(task_default_queue="here")
    app.conf.add_defaults(settings)
    before = call(app, 4)
    settings.task_default_queue = "there"
    after = call(app, 4)
    assert [doors.get(result.job_id).queue for result in before + after] == ["here"] * 4 + ["there"] * 4


def test_what_celery_looks_up_of_a_task_is_not_what_it_is_given(app: Celery, broker: Broker) -> None:
    @app.task(name="typed", soft_time_limit=9, shared=False)
    def typed() -> None: ...

    given: list[dict[str, Any]] = 3 * [{}] + 3 * [{"task_type": typed}]
    results = [app.send_task("typed", **options) for options in given]
    limits = {message["headers"]["id"]: message["headers"]["timelimit"] for message in broker.messages()}
    assert [limits[result.id] for result in results] == 3 * [[None, 9]] + 3 * [[None, None]]


def test_a_forked_process_remembers_nothing(app: Celery, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages say who it is."""
    call(app, 3)
    with monkeypatch.context() as patch:
        patch.setattr(repeats, "os", SimpleNamespace(getpid=lambda: 4321))
        call(app, 3)
    assert len(made) == 4


def test_the_texts_of_arguments_are_as_long_as_the_app_says(app: Celery, broker: Broker, made: list[str]) -> None:
    call(app, 3)
    app.amqp.kwargsrepr_maxsize = 50
    results = [app.tasks[ADD].delay("x" * 90, y="x" * 90), app.tasks[ADD].apply_async(("x" * 90,), {"y": "x" * 90})]
    texts = {m["headers"]["id"]: (m["headers"]["argsrepr"], m["headers"]["kwargsrepr"]) for m in broker.messages()}
    expected = saferepr(("x" * 90,), 1024), saferepr({"y": "x" * 90}, 50)
    assert [texts[result.id] for result in results] == [expected, expected]
    assert len(made) == 2


def test_an_eager_app_runs_the_task(app: Celery) -> None:
    call(app, 3)
    app.conf.task_always_eager = True
    assert app.tasks[ADD].delay(2, 3).get() == 5


# What has a say in each call


def test_a_receiver_sees_each_call_from_when_it_listens(app: Celery, made: list[str]) -> None:
    seen: list[Any] = []

    def listen(body: Any = None, **_: Any) -> None:
        seen.append(body[0])

    call(app, 3)
    signals.before_task_publish.connect(listen)
    try:
        call(app, 3)
    finally:
        signals.before_task_publish.disconnect(listen)
    assert seen == [(0,), (1,), (2,)]
    call(app, 3)
    assert len(made) == 5


def test_what_stands_in_for_the_senders_of_celery_sees_each_call(
    app: Celery, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(app, 3)
    seen: list[str] = []
    for owner, method, place in ((app, "send_task", 0), (app.amqp, "send_task_message", 1)):
        original = getattr(owner, method)

        def watch(*args: Any, original: Any = original, place: int = place, **options: Any) -> Any:
            seen.append(args[place])
            return original(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, method, watch)
            call(app, 4)
    assert seen == [ADD] * 8


def test_celery_tells_of_each_where_it_is_to(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(app.amqp._event_dispatcher, "publish", lambda _, event, *__, **___: told.append(event["uuid"]))
    call(app, 3)
    app.conf.task_send_sent_event = True
    results = call(app, 4)
    assert told == [result.id for result in results]


def test_a_router_sees_each_call(new_app: Callable[..., Celery], made: list[str]) -> None:
    def route(name: str, args: Any, *_: Any, **__: Any) -> dict[str, str]:
        return {"queue": f"q{args[0]}"}

    app = new_app(task_routes=[route])
    runs = [Jobs(app).get(r.job_id) for r in call(app, 4)]
    assert [run.queue for run in runs] == ["q0", "q1", "q2", "q3"]
    assert len(made) == 4


def test_the_calls_of_a_task_are_its_own(app: Celery, made: list[str], broker: Broker) -> None:
    call(app, 3)
    task = app.tasks[ADD]
    task.push_request(id="parent", root_id="root", called_directly=False)
    _task_stack.push(task)
    try:
        call(app, 3)
    finally:
        _task_stack.pop()
        task.pop_request()
    parents = [message["headers"]["parent_id"] for message in broker.messages()]
    assert sorted(parents, key=str) == [None] * 3 + ["parent"] * 3


def test_a_batch_gathers_them(app: Celery, doors: Jobs, db: Database, broker: Broker) -> None:
    call(app, 3)
    with doors.batch():
        call(app, 3)
        assert count(db) == broker.count() == 3
    assert count(db) == broker.count() == 6


def test_each_thread_has_its_own_replies(app: Celery, broker: Broker) -> None:
    call(app, 3)

    def many(_: int) -> str:
        call(app, 20)
        return str(app.thread_oid)

    with ThreadPoolExecutor(4) as threads:
        oids = list(threads.map(many, range(4)))
    replies = [message["properties"]["reply_to"] for message in broker.messages()]
    assert {oid: replies.count(oid) for oid in oids} == {oid: 20 * oids.count(oid) for oid in oids}
    assert set(broker.jobs().values()) == {1}
    assert len(broker.jobs()) == 83


def test_each_thread_makes_the_queue_of_its_replies(
    new_app: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ throws a reply away that comes before there is one."""
    app = new_app(result_backend="rpc://")
    declared: list[str] = []
    monkeypatch.setattr(sending, "_declare_replies", lambda backend, _: declared.append(backend.oid))

    def first() -> str:
        call(app)
        return str(app.thread_oid)

    call(app, 3)
    with ThreadPoolExecutor(1) as thread:
        oid = thread.submit(first).result()
    assert declared == [app.thread_oid] * 3 + [oid]


def test_a_task_that_expires_has_celery_say_when(app: Celery, made: list[str]) -> None:
    @app.task(name="short", expires=60, shared=False)
    def short() -> None: ...

    for _ in range(4):
        short.delay()
    assert len(made) == 4


def test_kinds_are_forgotten_before_they_fill_the_memory(
    app: Celery, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MOST_KINDS", 3)
    for number in range(10):
        call(app, queue=f"q{number}")
    assert len(made) == 10
    call(app, 3)
    assert len(made) == 12


# When something is wrong


def test_bad_arguments_are_told_as_ever(app: Celery, db: Database, broker: Broker) -> None:
    call(app, 3)
    task, limit = app.tasks[ADD], plugin_of(app).settings.max_payload_bytes
    for error, args in ((TypeError, (1, 2, 3)), (PayloadTooLarge, ("x" * limit,)), (PayloadNotSerializable, (call,))):
        with pytest.raises(error):
            task.delay(*args)
    assert count(db) == broker.count() == 3


def test_without_a_database_nothing_is_sent(app: Celery, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    call(app, 3)

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr("celery_jobs.store.enqueue.enqueue", away)
        with pytest.raises(StoreUnavailable):
            call(app)
    assert broker.count() == 3


@pytest.mark.parametrize("database_url", BOTH, indirect=True)
def test_without_a_broker_it_waits_unsent(
    app: Celery, db: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(app, 3)

    def refuse(self: Sender, producer: Any, act: Any, **_: Any) -> bool:
        self.breaker.failed()
        return False

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "guarded", refuse)
        (result,) = call(app)
        assert not sender_of(plugin_of(app)).breaker.allows()
        (later,) = call(app)
    assert broker.count() == 3
    query = select(jobs.c.sent_at).where(jobs.c.id.in_([r.job_id for r in (result, later)]))
    with db.reading() as connection:
        assert connection.execute(query).scalars().all() == [None, None]


@pytest.mark.parametrize("known", [0, 1, 4], ids=["new", "to be learned", "copied"])
def test_one_of_them_tries_a_broker_that_has_failed(
    app: Celery, db: Database, broker: Broker, known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = sender_of(plugin_of(app)).breaker
    call(app, known)
    breaker.failed()
    monkeypatch.setattr(breaker, "_clock", lambda: time.monotonic() + breaker.interval + 1)
    call(app)
    assert breaker.is_closed
    call(app, 3)
    assert broker.count() == count(db) == known + 4


def test_what_is_learned_as_the_broker_fails_is_not_kept(
    app: Celery, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = sender_of(plugin_of(app)).breaker

    def fail(*who: Any) -> Any:
        breaker.failed()  # as another thread's call does
        return published_by(*who)

    call(app)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "published_by", fail)
        call(app)
    breaker.succeeded()
    assert broker.count() == 1
    call(app, 3)
    assert broker.count() == 4


def test_a_paused_queue_keeps_it(app: Celery, doors: Jobs, db: Database, broker: Broker) -> None:
    call(app, 3)
    pause(db)
    results = call(app, 2)
    assert broker.count() == 3
    assert [doors.get(r.job_id).status for r in results] == ["pending"] * 2


@pytest.fixture(autouse=True)
def no_receivers() -> Iterator[None]:
    """Another test's receiver would have Celery make every call."""
    before = [(signal, list(signal.receivers or ())) for signal in (signals.before_task_publish,)]
    yield
    assert [(signal, list(signal.receivers or ())) for signal, _ in before] == before
