"""Payloads on their way to outside workers: what is stored, what is refused, and that nothing of it is ever sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import select

from celery_jobs import InvalidJob, Jobs, PayloadNotSerializable, PayloadTooLarge
from celery_jobs.doctor import examine
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store import health, signs
from celery_jobs.store.sends import take_due
from tests.outside.conftest import ADD, ANNE, HOOK, ON_SQLITE, OTHER, QUEUE, begin, claim, sends
from tests.store.conftest import pause, resume, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery
    from sqlalchemy.orm import Session

    from celery_jobs.store.db import Database


def test_a_payload_is_stored_with_its_options_and_no_task(doors: Jobs) -> None:
    run = doors.enqueue_payload(
        QUEUE,
        {"image": 7},
        delay=60,
        priority=3,
        tags={"shop": "tea"},
        idempotency_key="image-7",
        retry_delays=[1, 2, 3],
        callback_url=HOOK,
        expires=timedelta(hours=1),
    )
    assert (run.task, run.queue, run.status, run.task_id) == (None, QUEUE, "pending", run.id)
    assert (run.priority, run.tags, run.idempotency_key, run.callback_url) == (3, {"shop": "tea"}, "image-7", HOOK)
    assert run.max_attempts == 4
    assert run.scheduled_at - run.created_at == pytest.approx(timedelta(seconds=60), abs=timedelta(seconds=1))
    assert run.expires_at is not None
    assert run.expires_at - run.created_at == pytest.approx(timedelta(hours=1), abs=timedelta(seconds=1))
    (attempt,) = run.attempts
    assert (attempt.idempotency_scope, attempt.sent_at, attempt.send_count) == (QUEUE, None, 0)
    assert str(doors.arguments(run.id)) == "({'image': 7})"
    moment = datetime(2036, 1, 1, tzinfo=UTC)
    at = doors.enqueue_payload(QUEUE, 1, run_at="2036-01-01", expires=moment, max_retries=0)
    assert (at.scheduled_at, at.expires_at, at.max_attempts) == (moment, moment, 1)


@ON_SQLITE
def test_a_key_is_known_within_its_queue(doors: Jobs) -> None:
    first = doors.enqueue_payload(QUEUE, 1, idempotency_key="k")
    same = doors.enqueue_payload(QUEUE, 1, idempotency_key="k")
    other = doors.enqueue_payload(QUEUE, 2, idempotency_key="k")
    assert [(run.id, run.deduplicated, run.payload_mismatch) for run in (first, same, other)] == [
        (first.id, False, False),
        (first.id, True, False),
        (first.id, True, True),
    ]
    assert doors.enqueue_payload(OTHER, 1, idempotency_key="k").id != first.id
    assert claim(doors).id == first.id
    assert doors.claim(QUEUE, ANNE) == []


def test_it_is_part_of_a_transaction(doors: Jobs, db: Database, session: Session) -> None:
    undone = doors.enqueue_payload(QUEUE, 1, session=session)
    assert (undone.status, undone.task) == ("pending", None)
    session.rollback()
    kept = doors.enqueue_payload(QUEUE, 2, session=session)
    assert len(doors.list()) == 0
    session.commit()
    assert [run.id for run in doors.list()] == [kept.id]
    assert sends(db) == {(None, 0)}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a queue of Celery's": ({"queue": "celery"}, "queue"),
    "no queue": ({"queue": ["x"]}, "queue"),
    "an unknown option": ({"prority": 1}, "prority"),
    "Celery's own": ({"countdown": 1}, "countdown"),
    "a wrong priority": ({"priority": "high"}, "priority"),
    "a long delay": ({"delay": 86_401}, "delay"),
    "two moments": ({"delay": 1, "run_at": "2036-01-01"}, "delay"),
    "a wrong expiry": ({"expires": 0}, "expires"),
    "an endless one": ({"expires": float("inf")}, "expires"),
    "an expiry in words": ({"expires": "soon"}, "expires"),
    "two numbers": ({"max_attempts": 3, "max_retries": 5}, "max_attempts and max_retries"),
    "Celery's policy": ({"retry_policy": {"max_retries": 3}}, "retry_policy"),
    "attempts without delays": ({"retry_delays": [], "max_attempts": 3}, "retry_policy"),
    "a private callback": ({"callback_url": "http://127.0.0.1/"}, "callback_url"),
    "a set": ({"payload": {1}}, "payload"),
    "no number": ({"payload": float("nan")}, "payload"),
    "half a character": ({"payload": "\ud800"}, "payload"),
}


@ON_SQLITE
def test_what_is_wrong_is_named_and_nothing_is_written(doors: Jobs, db: Database) -> None:
    for name, (given, field) in WRONG.items():
        with pytest.raises(InvalidJob) as caught:
            doors.enqueue_payload(**{"queue": QUEUE, "payload": 1, **given})
        assert caught.value.field == field, name
    assert snapshot(db) == []


@ON_SQLITE
def test_a_payload_may_have_so_many_bytes(doors: Jobs, db: Database) -> None:
    limit = plugin_of(doors.app).settings.max_payload_bytes
    fits = "x" * (limit - 2)
    assert doors.arguments(doors.enqueue_payload(QUEUE, fits).id).args == (fits,)
    with pytest.raises(PayloadTooLarge, match="1,048,577 bytes"):
        doors.enqueue_payload(QUEUE, fits + "x")
    with pytest.raises(PayloadNotSerializable):
        doors.enqueue_payload(QUEUE, object())
    assert len(doors.list()) == 1


@ON_SQLITE
def test_a_task_does_not_go_to_outside_workers(app: Celery, doors: Jobs, db: Database, broker_url: str) -> None:
    task = app.tasks[ADD]
    ways: list[Callable[[], Any]] = [
        lambda: task.apply_async((1,), queue=QUEUE),
        lambda: app.send_task(ADD, (1,), queue=QUEUE),
        lambda: doors.enqueue(ADD, [1], queue=QUEUE),
        lambda: doors.enqueue_many([task.s(1), task.s(1).set(queue=QUEUE)], atomic=True),
        lambda: doors.enqueue_http("https://example.com", QUEUE),
    ]
    for way in ways:
        with pytest.raises(InvalidJob, match="outside workers claim its jobs") as caught:
            way()
        assert caught.value.field in ("queue", "items[1].queue")
    (good, bad) = doors.enqueue_many([task.s(1), task.s(1).set(queue=QUEUE)])
    assert good.error is None
    assert isinstance(bad.error, InvalidJob)
    assert [run.queue for run in doors.list()] == ["celery"]


def test_nothing_of_a_pull_queue_is_ever_sent(
    app: Celery, doors: Jobs, db: Database, later: Callable[[float], None], broker_url: str
) -> None:
    plugin = plugin_of(app)
    ended = begin(doors)
    doors.complete(ended.id, ANNE)
    failed = begin(doors)
    doors.fail(failed.id, ANNE, "x")
    doors.fire(failed.id)
    doors.replay(ended.id)
    doors.enqueue_payload(QUEUE, 1)
    doors.enqueue_payload(QUEUE, 2, delay=70)
    pause(db, QUEUE)
    later(500)
    resume(db, QUEUE)
    lost = doors.claim(QUEUE, ANNE)[0]
    later(500)
    with db.reading() as connection:
        assert not connection.execute(select(signs.unsent(75))).scalar()
        assert not connection.execute(select(signs.to_repair(120))).scalar()
    assert take_due(db, QUEUE, 75, 100) == []
    assert health.unserved(db, []) == {}
    for name in ("promoter", "redispatcher", "reaper"):
        assert make_service(plugin, name).run_once() == (name == "reaper")
    assert doors.get(lost.id).status == "pending"
    assert sends(db) == {(None, 0)}
    with Redis.from_url(broker_url) as client:
        assert client.keys(f"{QUEUE}*") == []
    assert {finding.check for finding in examine(plugin)} & {"queue-without-worker", "sends-used-up"} == set()


@ON_SQLITE
def test_the_services_still_send_what_is_celerys(app: Celery, doors: Jobs, db: Database) -> None:
    """Beside a pull queue of which nothing is sent."""
    doors.enqueue_payload(QUEUE, 1)
    held = doors.enqueue(ADD, [1], delay=70)
    with db.reading() as connection:
        assert connection.execute(select(signs.unsent(75))).scalar()
    assert make_service(plugin_of(app), "promoter").run_once() == 1
    assert doors.get(held.id).attempts[0].sent_at is not None
