"""Copies of a call that Celery has made: the rows and messages that it would have made, and it makes only the first."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import wrapt
from celery import signals
from celery.app.routes import Router
from celery.app.task import Task
from kombu.serialization import registry
from kombu.utils import json as kombu_json
from sqlalchemy import select

from celery_jobs import InvalidJob, Jobs, PayloadNotSerializable, PayloadTooLarge
from celery_jobs import template as templates
from celery_jobs.plugin import plugin_of
from celery_jobs.store.tables import jobs, messages
from tests.jobs.conftest import ADD, Broker
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.store.db import Database

ARGUMENTS: dict[str, tuple[Any, Any]] = {
    "none": ([1], {}),
    "numbers": ((1, 2), {}),
    "truth and nothing": ((True, None), {}),
    "fractions": ((0.1,), {"y": 1e30}),
    "texts": (("it's",), {"y": 'a "quoted" text\n'}),
    "letters": (("Ünïcödé",), {"y": "日本"}),
    "nested": (([1, [2, {"a": (3,)}]],), {"y": {"b": None}}),
    "long": (("x" * 5000,), {}),
    "many numbers": ((list(range(2000)),), {}),
    "secrets": (({"password": "hush"},), {"y": "token=abc def"}),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "queue": {"queue": "mail"},
    "priority": {"priority": 7},
    "delay": {"delay": 90},
    "serializer": {"serializer": "yaml"},
    "no result": {"ignore_result": True},
    "key": {"idempotency_key": "k"},
    "key and scope": {"idempotency_key": "k", "idempotency_scope": "s"},
    "policy": {"max_attempts": 2},
    "callback": {"callback_url": "https://example.com/hook"},
    "concurrency": {"concurrency_key": "c", "concurrency_limit": 2},
    "tags": {"tags": ["a"]},
    "headers": {"headers": {"tenant": "t"}},
    "expires": {"expires": 600},
}
COPIED = OPTIONS.keys() - {"tags", "headers", "expires"}
IDS = frozenset({"id", "task_id", "original_id", "message_id", "root_id", "correlation_id", "idempotency_key"})
MOMENTS = frozenset({"created_at", "scheduled_at", "sent_at", "expires_at", "eta", "expires"})


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    return new_app(jobs_redact=["password", "token"], accept_content=["json", "yaml"])


def stored(db: Database) -> list[dict[str, Any]]:
    """What each job is, apart from what no two have in common."""
    contents = [column for column in messages.c if not column.primary_key]
    query = select(jobs, *contents).join(messages, messages.c.id == jobs.c.message_id).order_by(jobs.c.id)
    with db.reading() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    for row in rows:
        row["headers"], row["properties"] = json.loads(row["headers"]), json.loads(row["properties"])
        row["body"] = bytes(row["body"])
    return [_comparable(row) for row in rows]


def _comparable(values: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in values.items() if name not in IDS}
    plain = {name: value is None if name in MOMENTS else value for name, value in known.items()}
    return {
        name: _comparable(value) if isinstance(value, dict) and name in ("headers", "properties") else value
        for name, value in plain.items()
    }


def items(arguments: str, options: str) -> list[dict[str, Any]]:
    """Three calls; where they have a key, each its own."""
    args, kwargs = ARGUMENTS[arguments]
    key = OPTIONS[options].get("idempotency_key")
    keys: list[dict[str, Any]] = [{} if key is None else {"idempotency_key": f"{key}{n}"} for n in range(3)]
    calls = [([n], {}) for n in range(2)] + [(args, kwargs)]
    return [
        {"task": ADD, "args": a, "kwargs": k, **OPTIONS[options], **own}
        for (a, k), own in zip(calls, keys, strict=True)
    ]


@pytest.mark.parametrize("database_url", BOTH, indirect=True)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_copy_is_what_celery_makes(
    doors: Jobs, db: Database, made: list[str], options: str, monkeypatch: pytest.MonkeyPatch, clear: Any
) -> None:
    calls = [item for arguments in ARGUMENTS for item in items(arguments, options)]
    for number, call in enumerate(calls):
        call.update({"idempotency_key": f"k{number}"} if "idempotency_key" in call else {})
    assert all(outcome.error is None for outcome in doors.enqueue_many(calls))
    copies = stored(db)
    assert len(made) == (1 if options in COPIED else len(calls))
    clear()
    monkeypatch.setattr(templates, "may_copy", lambda plugin, name: False)
    assert all(outcome.error is None for outcome in doors.enqueue_many(calls))
    assert len(made) >= len(calls)
    assert stored(db) == copies


@pytest.fixture
def clear(db: Database) -> Callable[[], None]:
    """Forgets every job."""

    def forget() -> None:
        with db.transaction() as connection:
            connection.execute(jobs.delete())
            connection.execute(messages.delete())

    return forget


def test_each_has_its_own_id_in_every_place(doors: Jobs, broker: Broker, made: list[str]) -> None:
    outcomes = doors.enqueue_many([{"task": ADD, "args": [n]} for n in range(5)])
    assert made == [outcomes[0].task_id]
    assert broker.jobs() == {str(outcome.job_id): 1 for outcome in outcomes}
    assert len({outcome.job_id for outcome in outcomes}) == 5
    assert [doors.arguments(str(outcome.job_id)).args for outcome in outcomes] == [(n,) for n in range(5)]


def test_each_kind_of_call_has_its_own_template(doors: Jobs, made: list[str]) -> None:
    kinds = [
        {"task": ADD, "args": [1]},
        {"task": "jobs.total", "args": [[1]]},
        {"task": ADD, "args": [1], "queue": "q"},
    ]
    outcomes = doors.enqueue_many(kinds * 4)
    assert made == [outcome.task_id for outcome in outcomes[:3]]
    assert [doors.get(str(outcome.job_id)).queue for outcome in outcomes[:6]] == ["celery", "celery", "q"] * 2


# What looks at each call


def _receiver(app: Celery, seen: list[Any]) -> None:
    signals.before_task_publish.connect(
        lambda headers, **_: seen.append(headers["id"]), weak=False, dispatch_uid="seen"
    )


def _router(app: Celery, seen: list[Any]) -> None:
    app.conf.task_routes = [lambda name, args, kwargs, options, task=None, **_: seen.append(args)]


def _shadow(app: Celery, seen: list[Any]) -> None:
    type(app.tasks[ADD]).shadow_name = lambda self, args, kwargs, options: seen.append(args)


def _apply_async(app: Celery, seen: list[Any]) -> None:
    def apply_async(self: Any, args: Any = None, *more: Any, **options: Any) -> Any:
        seen.append(args)
        return Task.apply_async(self, args, *more, **options)

    type(app.tasks[ADD]).apply_async = apply_async


def _send_task(app: Celery, seen: list[Any]) -> None:
    class Own(type(app)):  # type: ignore[misc]
        def send_task(self, name: str, args: Any = None, *more: Any, **options: Any) -> Any:
            seen.append(args)
            return super().send_task(name, args, *more, **options)

    app.__class__ = Own


def _wrapper(app: Celery, seen: list[Any]) -> None:
    """One that shows the code of what it wraps, as those of tracing libraries do."""

    def watch(wrapped: Any, instance: Any, args: Any, options: Any) -> Any:
        seen.append(args)
        return wrapped(*args, **options)

    kind: Any = type(app.tasks[ADD])
    kind.apply_async = wrapt.FunctionWrapper(Task.apply_async, watch)


def _way(app: Celery, seen: list[Any]) -> None:
    class Own(Router):  # type: ignore[misc]
        def route(self, options: Any, name: str, args: Any = (), *more: Any, **others: Any) -> Any:
            seen.append(args)
            return super().route(options, name, args, *more, **others)

    app.amqp.router = Own(app.amqp.router.routes, app.amqp.queues, app=app)


WATCHERS = [_receiver, _router, _shadow, _apply_async, _send_task, _wrapper, _way]


@pytest.fixture
def no_receivers() -> Iterator[None]:
    yield
    signals.before_task_publish.disconnect(dispatch_uid="seen")


@pytest.mark.usefixtures("no_receivers")
@pytest.mark.parametrize("watch", WATCHERS, ids=lambda watch: watch.__name__.strip("_"))
def test_what_an_app_has_to_say_of_each_call_it_says_of_each(
    app: Celery, doors: Jobs, made: list[str], watch: Callable[[Celery, list[Any]], None]
) -> None:
    seen: list[Any] = []
    watch(app, seen)
    outcomes = doors.enqueue_many([{"task": ADD, "args": [n]} for n in range(4)])
    assert made == [outcome.task_id for outcome in outcomes]
    assert len(seen) == 4


def test_a_route_by_name_needs_no_look_at_each_call(new_app: Callable[..., Celery], made: list[str]) -> None:
    app = new_app(task_routes={"jobs.*": {"queue": "routed"}})
    outcomes = Jobs(app).enqueue_many([{"task": ADD, "args": [n]} for n in range(4)])
    assert len(made) == 1
    assert {Jobs(app).get(str(outcome.job_id)).queue for outcome in outcomes} == {"routed"}


def test_of_two_serializers_with_one_content_type_the_one_that_was_asked_for_is_used(
    doors: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ("_encoders", "_decoders", "type_to_name", "name_to_type"):
        monkeypatch.setattr(registry, known, dict(getattr(registry, known)))
    registry.register("coarse", partial(kombu_json.dumps, cls=_Coarse), kombu_json.loads, "application/json")
    outcomes = doors.enqueue_many([{"task": ADD, "args": [value]} for value in (1, Decimal("1.5"))])
    assert [doors.arguments(str(outcome.job_id)).args for outcome in outcomes] == [(1,), (Decimal("1.5"),)]


class _Coarse(json.JSONEncoder):
    def default(self, value: Any) -> str:
        return "something"


# Bad ones among the copies


def test_bad_calls_among_copies_are_told_each_by_itself(doors: Jobs) -> None:
    limit = plugin_of(doors.app).settings.max_payload_bytes
    bad: list[dict[str, Any]] = [
        {"args": [1, 2, 3]},
        {"args": ["x" * limit]},
        {"args": [object()]},
        {"args": [1], "idempotency_key": ""},
        {"args": [1], "priority": "high"},
    ]
    outcomes = doors.enqueue_many([{"task": ADD, "args": [1]}, *({"task": ADD, **item} for item in bad)])
    errors = [type(outcome.error) for outcome in outcomes]
    assert errors == [type(None), InvalidJob, PayloadTooLarge, PayloadNotSerializable, InvalidJob, InvalidJob]
    with pytest.raises(InvalidJob, match=r"items\[1\].args"):
        doors.enqueue_many([{"task": ADD, "args": [1]}, {"task": ADD, **bad[0]}], atomic=True)
