"""The producer's seam: each way to call a task passes it, and nothing passes it unrecorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.signals import before_task_publish
from redis import Redis

from celery_jobs import InvalidJob, Jobs, PayloadNotSerializable, PayloadTooLarge
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from celery import Celery


def rows(app: Celery) -> list[Any]:
    with plugin_of(app).db.reading() as connection:
        return list(connection.execute(jobs.select().order_by(jobs.c.id)))


def messages(broker_url: str, queue: str = "celery") -> list[dict[str, Any]]:
    """What lies in a queue, over the four lists that Redis has for priorities."""
    with Redis.from_url(broker_url) as client:
        lists = [queue, *(f"{queue}\x06\x16{level}" for level in (3, 6, 9))]
        return [json.loads(item) for name in lists for item in client.lrange(name, 0, -1)]


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


CALLS: dict[str, Any] = {
    "delay": lambda app, add: add.delay(1, 2),
    "apply_async": lambda app, add: add.apply_async((1, 2)),
    "send_task": lambda app, add: app.send_task("add", (1, 2)),
    "send_task of a name unknown here": lambda app, add: app.send_task("elsewhere", (1, 2)),
    "a signature": lambda app, add: add.s(1, 2).apply_async(),
    "a signature unknown here": lambda app, add: app.signature("elsewhere", (1, 2)).apply_async(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_way_to_call_a_task_records_it_and_sends_it(app: Celery, add: Any, broker_url: str, call: Any) -> None:
    result = call(app, add)
    (row,) = rows(app)
    (message,) = messages(broker_url)
    assert row.task_id == result.id == message["headers"]["id"]
    assert row.id == result.job_id == message["headers"][JOB_HEADER]
    assert row.status == "pending"
    assert row.sent_at is not None


def test_each_member_of_a_canvas_is_recorded(app: Celery, add: Any) -> None:
    group(add.s(1, 1), add.s(2, 2)).apply_async()
    chain(add.s(3, 3), add.s(4)).apply_async()
    assert len(rows(app)) == 3  # the chain's second step is published when the first has run
    chord([add.s(5, 5), add.s(6, 6)], add.s(7)).apply_async()
    assert len(rows(app)) == 5


def test_a_plain_call_has_one_id_for_job_and_celery(app: Celery, add: Any) -> None:
    result = add.delay(1)
    assert result.job_id == result.id == rows(app)[0].original_id


def test_celerys_own_tasks_are_left_alone(app: Celery, broker_url: str) -> None:
    app.send_task("celery.backend_cleanup")
    assert rows(app) == []
    assert JOB_HEADER not in messages(broker_url)[0]["headers"]


def test_tasks_of_another_class_are_left_alone(app: Celery, broker_url: str) -> None:
    from celery import Task

    @app.task(base=Task, name="plain")
    def plain() -> None: ...

    plain.delay()
    assert rows(app) == []
    assert len(messages(broker_url)) == 1


def test_what_receivers_put_into_headers_is_recorded(app: Celery, add: Any) -> None:
    """Tracing libraries inject their headers in before_task_publish: they must be in the stored message."""

    def inject(headers: dict[str, Any], **_: Any) -> None:
        headers["traceparent"] = "00-1-2-01"

    before_task_publish.connect(inject)
    try:
        result = add.apply_async((1,), countdown=3600)
    finally:
        before_task_publish.disconnect(inject)
    message = reads.message_of(plugin_of(app).db, result.job_id)
    assert message is not None
    assert json.loads(message.headers)["traceparent"] == "00-1-2-01"


@pytest.mark.parametrize("option", ["countdown", "delay"])
def test_what_is_due_in_more_than_60_s_is_held_in_sql(app: Celery, add: Any, broker_url: str, option: str) -> None:
    add.apply_async((1,), **{option: 61})
    (row,) = rows(app)
    assert row.sent_at is None
    assert messages(broker_url) == []
    assert 60.5 < (row.scheduled_at - row.created_at).total_seconds() < 61.5


def test_what_is_due_within_60_s_is_sent_with_its_eta(app: Celery, add: Any, broker_url: str) -> None:
    add.apply_async((1,), countdown=60)
    (message,) = messages(broker_url)
    remaining = datetime.fromisoformat(message["headers"]["eta"]) - datetime.now(UTC)
    assert timedelta(seconds=58) < remaining <= timedelta(seconds=60)


def test_a_callers_eta_is_sent_as_it_is_to_the_microsecond(app: Celery, add: Any, broker_url: str) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=50)
    add.apply_async((1,), eta=eta)
    (message,) = messages(broker_url)
    assert message["headers"]["eta"] == eta.isoformat()


def test_an_eta_in_the_past_is_now(app: Celery, add: Any) -> None:
    add.apply_async((1,), eta=datetime(2020, 1, 1, tzinfo=UTC))
    assert rows(app)[0].sent_at is not None


def test_options_of_ours_reach_the_row_and_not_the_message(app: Celery, add: Any, broker_url: str) -> None:
    add.apply_async((1,), tags=["a"], callback_url="https://example.com/done", max_attempts=7, concurrency_key="k")
    (row,) = rows(app)
    assert row.tags == ["a"]
    assert row.callback_url == "https://example.com/done"
    assert (row.max_attempts, row.concurrency_key, row.concurrency_limit) == (7, "k", 1)
    assert not {"tags", "callback_url"} & messages(broker_url)[0]["properties"].keys()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an option misspelled": ({"idempotencykey": "x"}, "idempotency_key"),
    "a delay above a day": ({"delay": 86_401}, "delay"),
    "a negative delay": ({"delay": -1}, "delay"),
    "101 attempts": ({"max_attempts": 101}, "max_attempts"),
    "max_attempts against max_retries": ({"max_attempts": 3, "max_retries": 3}, "max_retries"),
    "attempts without delays": ({"retry_policy": [], "max_attempts": 2}, "delay"),
    "a limit without a key": ({"concurrency_limit": 2}, "concurrency_key"),
    "a callback that is no URL": ({"callback_url": "ftp://x"}, "callback_url"),
}


@pytest.mark.parametrize(("options", "named"), BAD.values(), ids=BAD)
def test_a_bad_option_is_refused_before_anything_is_written(
    app: Celery, add: Any, broker_url: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidJob, match=named):
        add.apply_async((1,), **options)
    assert rows(app) == []
    assert messages(broker_url) == []


def test_a_payload_over_1_mib_is_refused_before_anything_is_written(app: Celery, add: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="1,048,576"):
        add.delay("x" * 1_048_576)
    assert rows(app) == []


def test_a_canvas_around_small_arguments_does_not_count(app: Celery, add: Any) -> None:
    big = "x" * 300_000
    chain(add.s(1, 1), *[add.si(big, big) for _ in range(3)]).apply_async()
    assert len(rows(app)) == 1


def test_a_payload_that_the_serializer_refuses_is_refused_before_anything_is_written(app: Celery, add: Any) -> None:
    with pytest.raises(PayloadNotSerializable, match="json"):
        add.delay(object())
    assert rows(app) == []


def test_a_key_gives_back_the_first_job(app: Celery, add: Any, broker_url: str) -> None:
    first = add.apply_async((1,), idempotency_key="order-1")
    second = add.apply_async((1,), idempotency_key="order-1")
    other = add.apply_async((2,), idempotency_key="order-1")
    assert (first.deduplicated, second.deduplicated, other.deduplicated) == (False, True, True)
    assert first.id == second.id == other.id
    assert (second.payload_mismatch, other.payload_mismatch) == (False, True)
    assert len(messages(broker_url)) == len(rows(app)) == 1


def test_a_key_counts_within_its_task(app: Celery, add: Any) -> None:
    @app.task(name="other")
    def other() -> None: ...

    add.apply_async((1,), idempotency_key="k")
    assert not other.apply_async(idempotency_key="k").deduplicated


def test_a_member_of_a_group_is_never_another_job(app: Celery, add: Any) -> None:
    from celery_jobs import DuplicateJob

    add.apply_async((1,), idempotency_key="k")
    with pytest.raises(DuplicateJob, match="'k'"):
        group(add.s(1).set(idempotency_key="k"), add.s(2)).apply_async()


def test_a_callers_own_id_is_the_same_job_while_it_lives(app: Celery, add: Any) -> None:
    first = add.apply_async((1,), task_id="mine")
    second = add.apply_async((1,), task_id="mine")
    assert (first.job_id, True) == (second.job_id, second.deduplicated)
    Jobs(app).cancel("mine")
    third = add.apply_async((1,), task_id="mine")
    assert third.job_id != first.job_id
    assert Jobs(app).get("mine").id == third.job_id


def test_unmarked_messages_count_as_priority_0_on_redis(app: Celery, add: Any, broker_url: str) -> None:
    levels = {}
    for priority in (None, 10, 1, 0, -1):
        options: dict[str, Any] = {} if priority is None else {"priority": priority}
        Jobs(app).enqueue("add", (1,), **options)
        levels[priority] = messages(broker_url)[-1]["properties"]["priority"]
        with Redis.from_url(broker_url) as client:
            client.flushdb()
    assert levels == {None: 6, 10: 0, 1: 3, 0: 6, -1: 9}


def test_a_callers_celery_priority_keeps_celerys_meaning(app: Celery, add: Any, broker_url: str) -> None:
    add.apply_async((1,), priority=3)
    assert messages(broker_url)[0]["properties"]["priority"] == 3
    assert rows(app)[0].priority == -3  # on Redis 0 comes first; SQL counts higher first


def test_eager_calls_make_no_rows(app: Celery, add: Any) -> None:
    assert add.apply((1, 2)).get() == 3
    app.conf.task_always_eager = True
    assert add.delay(1, 2).get() == 3
    assert rows(app) == []


def test_our_own_door_refuses_what_would_make_no_row(app: Celery, add: Any, broker_url: str) -> None:
    with pytest.raises(InvalidJob, match="is no job"):
        Jobs(app).enqueue("celery.backend_cleanup")
    app.conf.task_always_eager = True
    with pytest.raises(InvalidJob, match="task_always_eager"):
        Jobs(app).enqueue("add", (1,))
    assert messages(broker_url) == []


def test_our_own_door_refuses_unknown_options(app: Celery, add: Any) -> None:
    with pytest.raises(InvalidJob, match="did you mean queue"):
        Jobs(app).enqueue("add", (1,), quue="x")


@pytest.mark.parametrize("option", ["task_id", "queue"])
@pytest.mark.parametrize("name", ["a\x00b", "a\ud800b"])
def test_a_name_that_no_database_keeps_is_refused_before_anything_is_written(
    app: Celery, add: Any, broker_url: str, option: str, name: str
) -> None:
    with pytest.raises(InvalidJob, match=option):
        add.apply_async((1, 2), **{option: name})
    assert (rows(app), messages(broker_url)) == ([], [])


def test_a_patch_of_the_apps_class_holds_for_calls_by_name_though_it_came_later(
    app: Celery, add: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Sentry patches it."""
    called: list[str] = []
    original = type(app).send_task

    def patched(self: Celery, name: str, *args: Any, **options: Any) -> Any:
        called.append(name)
        return original(self, name, *args, **options)

    monkeypatch.setattr(type(app), "send_task", patched)
    app.send_task("add", (1, 2))
    assert called == ["add"]
    assert [row.task for row in rows(app)] == ["add"]
