"""enqueue_many: one outcome for each item, in order; what is due soon has one message, what is held has none."""

from __future__ import annotations

import json
import time
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.signals import before_task_publish

from celery_jobs import EnqueueOutcome, InvalidJob, Jobs, PayloadTooLarge, StoreUnavailable
from celery_jobs.demo.valkey import Valkey, start_valkey
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store import enqueue as enqueue_store
from celery_jobs.store.tables import messages
from tests.apps import make_app, working
from tests.jobs.conftest import ADD, BOOM, Broker, count, declare, pause, succeed
from tests.processes import wait_until
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery

    from celery_jobs.store.db import Database
    from tests.servers.postgres import Postgres


def adds(number: int, **options: Any) -> list[dict[str, Any]]:
    return [{"task": ADD, "args": [n, 1], **options} for n in range(number)]


def ids(outcomes: list[EnqueueOutcome]) -> list[str]:
    assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
    return [str(outcome.job_id) for outcome in outcomes]


def test_nothing_makes_nothing(doors: Jobs, db: Database) -> None:
    assert doors.enqueue_many([]) == []
    assert doors.enqueue_many([], atomic=True) == []
    assert count(db) == 0


def test_outcomes_come_in_the_order_of_their_items(doors: Jobs, broker: Broker) -> None:
    outcomes = doors.enqueue_many(adds(7))
    assert [outcome.index for outcome in outcomes] == list(range(7))
    assert [doors.arguments(str(outcome.job_id)).args for outcome in outcomes] == [(n, 1) for n in range(7)]
    assert [doors.get(str(outcome.task_id)).id for outcome in outcomes] == ids(outcomes)
    assert broker.jobs() == dict.fromkeys(ids(outcomes), 1)


def test_any_iterable_of_items_will_do(doors: Jobs, app: Celery) -> None:
    add = app.tasks[ADD]
    assert len(ids(doors.enqueue_many(add.s(n) for n in range(3)))) == 3


def test_all_run(doors: Jobs, app: Celery) -> None:
    made = ids(doors.enqueue_many(adds(5)))
    with working(app):
        assert [doors.wait(id, 40).result for id in made] == [1, 2, 3, 4, 5]


# Bad items among good ones


def _bad(app: Celery) -> dict[str, tuple[Any, str]]:
    add = app.tasks[ADD]
    return {
        "an option misspelled": ({"task": ADD, "args": [1], "quue": "x"}, "quue"),
        "an option of the store": ({"task": ADD, "args": [1], "job_priority": 1}, "job_priority"),
        "a bad delay": ({"task": ADD, "args": [1], "delay": 86_401}, "delay"),
        "a bad priority": ({"task": ADD, "args": [1], "priority": "high"}, "priority"),
        "too few arguments": ({"task": ADD}, "args"),
        "too many arguments": ({"task": ADD, "args": [1, 2, 3]}, "args"),
        "an unknown argument": ({"task": ADD, "kwargs": {"z": 1}}, "args"),
        "a signature with wrong arguments": (add.s(1, 2, 3), "args"),
        "a payload too large": ({"task": ADD, "args": ["x" * 1_048_577]}, "payload"),
        "a payload not serializable": ({"task": ADD, "args": [object()]}, "payload"),
        "no task": ({"args": [1]}, "task"),
        "a task of another type": ({"task": add, "args": [1]}, "task"),
        "an empty task": ({"task": ""}, "task"),
        "a task that is no job": ({"task": "celery.backend_cleanup"}, "name"),
        "args as text": ({"task": ADD, "args": "12"}, "args"),
        "args as a number": ({"task": ADD, "args": 1}, "args"),
        "kwargs as a list": ({"task": ADD, "kwargs": [1]}, "kwargs"),
        "a group": (group(add.s(1), add.s(2)), "task"),
        "a chain": (chain(add.s(1), add.s(2)), "task"),
        "a chord": (chord([add.s(1)], app.tasks["jobs.total"].s()), "task"),
        "a task itself": (add, "items"),
        "a name": (ADD, "items"),
        "nothing": (None, "items"),
        "a pair": ((ADD, [1]), "items"),
    }


def test_a_bad_item_is_an_outcome_that_names_its_field_and_the_others_go_ahead(
    doors: Jobs, app: Celery, broker: Broker, db: Database
) -> None:
    bad = _bad(app)
    items: list[Any] = []
    for item, _ in bad.values():
        items += [{"task": ADD, "args": [1]}, item]
    outcomes = doors.enqueue_many(items)
    assert [outcome.index for outcome in outcomes] == list(range(len(items)))
    good, refused = outcomes[::2], outcomes[1::2]
    assert broker.jobs() == dict.fromkeys(ids(good), 1)
    assert count(db) == len(good)
    for (name, (_, field)), outcome in zip(bad.items(), refused, strict=True):
        assert isinstance(outcome.error, InvalidJob), (name, outcome)
        assert (outcome.error.field, outcome.job_id, outcome.task_id) == (field, None, None), name
        assert outcome.to_json()["error"]["field"] == field
    assert isinstance(refused[list(bad).index("a payload too large")].error, PayloadTooLarge)


def test_atomically_a_bad_item_keeps_all_out_and_is_named(
    doors: Jobs, app: Celery, broker: Broker, db: Database
) -> None:
    for name, (item, field) in _bad(app).items():
        with pytest.raises(InvalidJob, match=rf"items\[2\]\.{field}: ") as caught:
            doors.enqueue_many([{"task": ADD, "args": [1]}, app.tasks[ADD].s(1), item], atomic=True)
        assert caught.value.field == f"items[2].{field}", name
    assert (count(db), count(db, messages), broker.count()) == (0, 0, 0)


def test_an_option_that_celery_refuses_names_the_item_too(doors: Jobs, broker: Broker, db: Database) -> None:
    items = [*adds(2), {"task": ADD, "args": [1], "countdown": "soon"}]
    assert doors.enqueue_many(items)[2].error is not None
    broker.clear()
    with pytest.raises(InvalidJob, match=r"^items\[2\]"):
        doors.enqueue_many(items, atomic=True)
    assert (count(db), broker.count()) == (2, 0)


def test_a_task_that_checks_no_arguments_takes_any(doors: Jobs, app: Celery) -> None:
    app.tasks[ADD].typing = False
    ids(doors.enqueue_many([{"task": ADD, "args": [1, 2, 3, 4]}]))


def test_more_than_10_000_are_refused(doors: Jobs, db: Database) -> None:
    with pytest.raises(InvalidJob, match="10,000"):
        doors.enqueue_many(adds(10_001))
    assert count(db) == 0


@pytest.mark.parametrize("database_url", BOTH, indirect=True)
def test_10_000_are_stored_and_sent(doors: Jobs, broker: Broker, db: Database) -> None:
    made = ids(doors.enqueue_many(adds(10_000), atomic=db.is_sqlite))
    assert len(set(made)) == 10_000
    assert (count(db), count(db, messages), broker.count()) == (10_000, 10_000, 10_000)
    assert doors.arguments(made[9_999]).args == (9_999, 1)


# Duplicates


def test_two_items_with_one_key_make_one_job(doors: Jobs, broker: Broker, db: Database) -> None:
    first, second, third = doors.enqueue_many(
        [
            {"task": ADD, "args": [1], "idempotency_key": "k"},
            {"task": ADD, "args": [1], "idempotency_key": "k"},
            {"task": ADD, "args": [2], "idempotency_key": "k"},
        ]
    )
    assert (first.deduplicated, second.deduplicated, third.deduplicated) == (False, True, True)
    assert (first.payload_mismatch, second.payload_mismatch, third.payload_mismatch) == (False, False, True)
    assert first.job_id == second.job_id == third.job_id
    assert first.task_id == second.task_id
    assert (count(db), count(db, messages), broker.count()) == (1, 1, 1)


def test_one_key_is_one_job_across_tasks(doors: Jobs, db: Database) -> None:
    first, second = doors.enqueue_many(
        [{"task": ADD, "args": [1], "idempotency_key": "k"}, {"task": BOOM, "args": [1], "idempotency_key": "k"}]
    )
    assert (first.job_id, second.deduplicated) == (second.job_id, True)
    assert doors.get(str(second.job_id)).task == ADD
    assert count(db) == 1


def test_a_key_of_an_existing_job_finds_it_in_whatever_state(doors: Jobs, db: Database, broker: Broker) -> None:
    waiting = doors.enqueue(ADD, (1,), idempotency_key="waits")
    ended = succeed(db, doors.enqueue(ADD, (1,), idempotency_key="ended").id)
    broker.clear()
    outcomes = doors.enqueue_many(
        [{"task": ADD, "args": [1], "idempotency_key": key} for key in ("waits", "new", "ended")]
    )
    assert [outcome.deduplicated for outcome in outcomes] == [True, False, True]
    assert (outcomes[0].job_id, outcomes[2].job_id) == (waiting.id, ended)
    assert broker.jobs() == {outcomes[1].job_id: 1}


def test_a_bad_item_does_not_take_the_scope_of_a_key_with_it(doors: Jobs, db: Database) -> None:
    existing = doors.enqueue(ADD, (1,), idempotency_key="k")
    bad, good = doors.enqueue_many(
        [{"task": BOOM, "quue": "x", "idempotency_key": "k"}, {"task": ADD, "args": [1], "idempotency_key": "k"}]
    )
    assert bad.error is not None
    assert (good.job_id, good.deduplicated) == (existing.id, True)


def test_keys_are_apart_from_those_of_other_tasks(doors: Jobs) -> None:
    doors.enqueue(ADD, (1,), idempotency_key="k")
    (outcome,) = doors.enqueue_many([{"task": BOOM, "idempotency_key": "k"}])
    assert not outcome.deduplicated


def test_a_callers_own_task_id_is_one_living_job(doors: Jobs, db: Database, broker: Broker) -> None:
    outcomes = doors.enqueue_many(adds(2, task_id="mine"))
    assert [outcome.deduplicated for outcome in outcomes] == [False, True]
    assert {outcome.task_id for outcome in outcomes} == {"mine"}
    succeed(db, str(outcomes[0].job_id))
    (again,) = doors.enqueue_many(adds(1, task_id="mine"))
    assert not again.deduplicated
    assert again.job_id != outcomes[0].job_id
    assert broker.count() == 2


def test_duplicates_in_racing_calls_make_one_job(doors: Jobs, db: Database) -> None:
    from tests.store.conftest import race

    items = [{"task": ADD, "args": [n], "idempotency_key": f"k{n}"} for n in range(40)]
    made = race(*[lambda: doors.enqueue_many(items)] * 4)
    assert len({tuple(ids(outcomes)) for outcomes in made}) == 1
    assert count(db) == count(db, messages) == 40


# Times, options, signatures


def test_what_is_held_has_no_message_and_what_is_due_soon_has_one(
    doors: Jobs, broker: Broker, db: Database, app: Celery
) -> None:
    pause(db, "resting")
    soon = datetime.now(UTC) + timedelta(seconds=30)
    outcomes = doors.enqueue_many(
        [
            {"task": ADD, "args": [1]},
            {"task": ADD, "args": [2], "delay": 30},
            {"task": ADD, "args": [3], "countdown": 30},
            {"task": ADD, "args": [4], "eta": soon},
            {"task": ADD, "args": [5], "run_at": "2020-01-01T00:00:00"},
            {"task": ADD, "args": [6], "delay": 3600},
            {"task": ADD, "args": [7], "eta": soon + timedelta(hours=1)},
            {"task": ADD, "args": [8], "queue": "resting"},
            app.tasks[ADD].s(9).set(countdown=61),
        ]
    )
    made = ids(outcomes)
    assert broker.jobs() == dict.fromkeys(made[:5], 1)
    assert broker.count("resting") == 0
    sent = [doors.get(id).attempts[0].sent_at is not None for id in made]
    assert sent == [True] * 5 + [False] * 4
    waits = [(doors.get(id).scheduled_at - doors.get(id).created_at).total_seconds() for id in made]
    expected = [0, 30, 30, 30, None, 3600, 3630, 0, 61]
    assert 0 <= waits[4] < 5  # past is now
    assert all(abs(w - e) < 2 for w, e in zip(waits, expected, strict=True) if e is not None), waits


def test_defaults_are_options_of_all_and_an_items_own_come_first(doors: Jobs, broker: Broker) -> None:
    outcomes = doors.enqueue_many(
        [{"task": ADD, "args": [1]}, {"task": ADD, "args": [2], "queue": "own", "tags": ["mine"]}],
        queue="shared",
        tags=["all"],
        max_attempts=2,
    )
    runs = [doors.get(id) for id in ids(outcomes)]
    assert [(run.queue, run.tags, run.max_attempts) for run in runs] == [("shared", ["all"], 2), ("own", ["mine"], 2)]
    assert (broker.count("shared"), broker.count("own"), broker.count()) == (1, 1, 0)


def test_a_bad_default_is_every_items_error(doors: Jobs, db: Database) -> None:
    outcomes = doors.enqueue_many(adds(3), delay=-1)
    assert [getattr(outcome.error, "field", None) for outcome in outcomes] == ["delay"] * 3
    assert count(db) == 0


def test_signatures_keep_their_arguments_options_and_links(doors: Jobs, app: Celery) -> None:
    add = app.tasks[ADD]
    signature = add.s(1, y=2).set(priority=5, tags={"a": 1}, link=add.s(10))
    (made,) = ids(doors.enqueue_many([signature]))
    run = doors.get(made)
    assert (run.priority, run.tags) == (5, {"a": 1})
    with working(app):
        assert doors.wait(made, 40).result == 3
        linked = wait_until(lambda: [run for run in doors.list(status="success") if run.id != made])
    assert [run.result for run in linked] == [13]


def test_items_are_not_changed(doors: Jobs) -> None:
    items = adds(2, idempotency_key="k", priority=3, delay=1)
    before = json.dumps(items)
    doors.enqueue_many(items, tags=["x"])
    assert json.dumps(items) == before


def test_what_a_signal_receiver_enqueues_meanwhile_is_stored_too(doors: Jobs, app: Celery, db: Database) -> None:
    def audit(sender: str, **_: Any) -> None:
        if sender == ADD:
            app.tasks[BOOM].delay("audit")

    before_task_publish.connect(audit)
    try:
        outcomes = doors.enqueue_many(adds(3))
    finally:
        before_task_publish.disconnect(audit)
    assert [doors.get(id).task for id in ids(outcomes)] == [ADD] * 3
    assert doors.count(task=BOOM) == 3


# The same message as `.delay()`


def normal(message: dict[str, Any], *moments: str) -> dict[str, Any]:
    """A message without what differs from call to call."""
    for name in (JOB_HEADER, "id", "root_id", *moments):
        message["headers"].pop(name)
    for name in ("delivery_tag", "correlation_id"):
        message["properties"].pop(name)
    return message


CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with options": {"queue": "other", "time_limit": 9, "soft_time_limit": 7, "ignore_result": True, "shadow": "name"},
    "compressed": {"compression": "zlib"},
    "with headers": {"headers": {"traceparent": "00-1-2-01"}},
    "with ours": {"tags": ["a"], "callback_url": "https://example.com", "max_attempts": 2},
}


@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_the_messages_are_those_that_a_single_call_makes(
    doors: Jobs, app: Celery, broker: Broker, options: dict[str, Any]
) -> None:
    queue = options.get("queue", "celery")
    app.tasks[ADD].apply_async((1,), {"y": 2}, **options)
    (expected,) = broker.messages(queue)
    broker.clear()
    items: list[Any] = [{"task": ADD, "args": [1], "kwargs": {"y": 2}, **options}] * 2
    made = ids(doors.enqueue_many(items))
    received = broker.messages(queue)
    assert sorted(message["headers"][JOB_HEADER] for message in received) == sorted(made)
    assert [message["headers"]["id"] for message in received] == [message["headers"]["root_id"] for message in received]
    expected = normal(expected)
    assert [normal(message) for message in received] == [expected] * 2


def test_messages_with_a_wait_say_when_and_until_when(doors: Jobs, app: Celery, broker: Broker) -> None:
    app.tasks[ADD].apply_async((1,), countdown=30, expires=300)
    (expected,) = broker.messages()
    broker.clear()
    doors.enqueue_many([{"task": ADD, "args": [1], "countdown": 30, "expires": 300}] * 2)
    for message in broker.messages():
        for moment in ("eta", "expires"):
            ours, theirs = (datetime.fromisoformat(each["headers"][moment]) for each in (message, expected))
            assert abs((ours - theirs).total_seconds()) < 3
        assert abs(int(message["properties"]["expiration"]) - int(expected["properties"]["expiration"])) < 3000


# Without a broker, without a database


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with start_valkey(tmp_path / "valkey") as server:
        yield server


def test_without_a_broker_the_rows_are_there_unsent_and_promoted_later(own_valkey: Valkey, database_url: str) -> None:
    app = declare(make_app(own_valkey.url, database_url, jobs_broker_retry_interval=0.2))
    doors = Jobs(app)
    doors.enqueue(ADD, (0,))
    own_valkey.stop()
    outcomes = doors.enqueue_many(adds(1200))
    made = [doors.get(id) for id in ids(outcomes)[::300]]
    assert [(run.status, run.attempts[0].sent_at) for run in made] == [("pending", None)] * 4
    own_valkey.restart()
    promoter = make_service(plugin_of(app), "promoter")
    promoted = 0
    while promoted < 1200:
        promoted += wait_until(promoter.run_once)
    assert promoted == 1200
    from redis import Redis

    with Redis.from_url(own_valkey.url) as client:
        assert set(ids(outcomes)) <= set(Broker(client).jobs())
    plugin_of(app).db.dispose()
    app.close()


@pytest.fixture
def shaky(fragile_url: str, broker_url: str) -> Iterator[Celery]:
    """An app whose database can be stopped."""
    app = declare(make_app(broker_url, fragile_url))
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


def test_without_a_database_nothing_is_sent_and_it_is_said(
    shaky: Celery, own_postgres: Postgres, broker: Broker
) -> None:
    doors = Jobs(shaky)
    doors.enqueue(ADD, (0,))
    broker.clear()
    own_postgres.stop()
    started = time.monotonic()
    outcomes = doors.enqueue_many([*adds(1500), {"task": ADD}])
    with pytest.raises(StoreUnavailable):
        doors.enqueue_many(adds(2), atomic=True)
    with pytest.raises(StoreUnavailable), doors.batch():
        shaky.tasks[ADD].delay(1)
    assert time.monotonic() - started < 9
    assert [type(outcome.error) for outcome in outcomes] == [StoreUnavailable] * 1500 + [InvalidJob]
    assert broker.count() == 0


def lost_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away after so many transactions of an enqueue."""
    real, made = enqueue_store.enqueue_all, []

    def enqueue_all(*args: Any, **options: Any) -> Any:
        made.append(args)
        if len(made) > calls:
            raise StoreUnavailable("the jobs database does not answer")
        return real(*args, **options)

    monkeypatch.setattr(enqueue_store, "enqueue_all", enqueue_all)


def test_a_database_that_goes_away_in_the_middle_keeps_what_was_stored(
    doors: Jobs, broker: Broker, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost_after(1, monkeypatch)
    outcomes = doors.enqueue_many(adds(1200))
    assert {type(outcome.error) for outcome in outcomes[500:]} == {StoreUnavailable}
    assert broker.jobs() == dict.fromkeys(ids(outcomes[:500]), 1)
    assert count(db) == 500


def test_a_database_that_goes_away_inside_an_atomic_call_keeps_nothing(
    doors: Jobs, broker: Broker, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = enqueue_store.insert_job, []

    def insert_job(*args: Any) -> Any:
        made.append(args)
        raise StoreUnavailable("the jobs database does not answer")

    assert real is not None
    monkeypatch.setattr(enqueue_store, "insert_job", insert_job)
    with pytest.raises(StoreUnavailable):
        doors.enqueue_many([*adds(2000), *adds(2, task_id="twice")], atomic=True)
    assert made
    assert (count(db), count(db, messages), broker.count()) == (0, 0, 0)


def test_an_outcome_is_a_frozen_value_with_a_documented_form(doors: Jobs) -> None:
    good, bad = doors.enqueue_many([*adds(1), {"task": ADD, "args": [1], "delay": -1}])
    for outcome in (good, bad):
        assert list(json.loads(json.dumps(outcome.to_json()))) == [
            "index",
            "job_id",
            "task_id",
            "deduplicated",
            "payload_mismatch",
            "replaced",
            "error",
        ]
    assert good.to_json()["error"] is None
    assert set(bad.to_json()["error"]) == {"type", "message", "field"}
    assert bad.to_json()["error"]["type"] == "InvalidJob"
    with pytest.raises(FrozenInstanceError):
        good.index = 7  # type: ignore[misc]
