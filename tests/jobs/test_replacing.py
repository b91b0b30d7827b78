"""`on_conflict="replace"`: a job that still waits becomes what a later enqueue says; an old message never runs."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, group
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from celery_jobs import Event, InvalidJob, Jobs
from celery_jobs.envelope import EDITION_HEADER, JOB_HEADER, headers_for, headers_text
from celery_jobs.ids import new_id
from celery_jobs.sending import sender_of
from celery_jobs.store import attempts, endings, sends
from celery_jobs.store.rows import Claim
from celery_jobs.store.tables import jobs, messages
from tests.apps import shared_worker
from tests.jobs.conftest import ADD, BOOM, bury, claim, count, fail, succeed
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.db import Database
    from tests.jobs.conftest import Broker

PRODUCERS = 32
REPLACE: dict[str, Any] = {"idempotency_key": "k", "on_conflict": "replace"}


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    return new_app(jobs_queues={"outside": {"mode": "pull"}})


@pytest.fixture
def plugin(app: Celery) -> Plugin:
    found: Plugin = app.celery_jobs
    return found


def edition(db: Database, id: str) -> int:
    with db.reading() as connection:
        return int(connection.execute(select(jobs.c.edition).where(jobs.c.id == id)).scalar_one())


def test_what_waits_becomes_what_the_call_says(doors: Jobs, db: Database, heard: list[Event]) -> None:
    first = doors.enqueue(ADD, (1,), **REPLACE)
    assert (first.deduplicated, first.replaced) == (False, False)
    more: dict[str, Any] = {"delay": 600, "priority": 7, "tags": ["b"], "max_attempts": 9, "expires": 5000}
    second = doors.enqueue(ADD, (2,), **REPLACE, **more)
    assert (second.id, second.task_id, second.created_at) == (first.id, first.task_id, first.created_at)
    assert (second.deduplicated, second.replaced, second.payload_mismatch) == (True, True, False)
    assert str(doors.arguments(first.id)) == "(2)"
    assert (second.priority, second.tags, second.max_attempts) == (7, ["b"], 9)
    assert 599 < (second.scheduled_at - second.created_at).total_seconds() < 660
    assert second.expires_at is not None
    third = doors.enqueue(ADD, (3,), **REPLACE)
    assert (third.replaced, third.priority, third.tags, third.expires_at) == (True, 0, None, None)
    assert edition(db, first.id) == 2
    assert count(db) == count(db, messages) == 1
    told = [(str(event.kind), event.job_id, event.task_id) for event in heard]
    assert told == [
        ("job.enqueued", first.id, first.task_id),
        ("job.replaced", first.id, first.task_id),
        ("job.replaced", first.id, first.task_id),
    ]
    events = list(zip(range(2), doors.events(first.id), strict=False))
    assert [str(event.kind) for _, event in events] == ["job.enqueued", "job.replaced"]
    assert events[1][1].details["edition"] == 2


def test_without_it_nothing_is_replaced(doors: Jobs, db: Database) -> None:
    first = doors.enqueue(ADD, (1,), idempotency_key="k")
    for options in ({}, {"on_conflict": "return"}, {"on_conflict": None}):
        again = doors.enqueue(ADD, (2,), idempotency_key="k", **options)
        assert (again.id, again.deduplicated, again.replaced) == (first.id, True, False)
    assert str(doors.arguments(first.id)) == "(1)"


def lose(db: Database, id: str) -> None:
    assert endings.lose(db, id, 3, lease_token=claim(db, id).lease_token) is True


STATES: dict[str, Callable[[Database, str], Any]] = {
    "running": claim,
    "retrying": fail,
    "ended": succeed,
    "dead": bury,
    "lost": lose,
    "cancelled": endings.cancel,
}


@pytest.mark.parametrize("state", STATES)
def test_what_has_begun_or_ended_is_not_replaced(doors: Jobs, db: Database, state: str) -> None:
    first = doors.enqueue(ADD, (1,), **REPLACE)
    STATES[state](db, first.id)
    before = doors.get(first.id)
    again = doors.enqueue(ADD, (2,), **REPLACE, priority=9)
    assert (again.id, again.deduplicated, again.replaced, again.payload_mismatch) == (first.id, True, False, True)
    assert doors.get(first.id) == before
    assert str(doors.arguments(first.id)) == "(1)"
    assert count(db, messages) == 1


def test_another_task_of_the_scope_is_not_replaced(doors: Jobs) -> None:
    first = doors.enqueue(ADD, (1,), idempotency_scope="s", **REPLACE)
    again = doors.enqueue(BOOM, (1,), idempotency_scope="s", **REPLACE)
    assert (again.id, again.task, again.replaced) == (first.id, ADD, False)


def test_a_member_of_a_group_is_neither_replaced_nor_replaces(app: Celery, doors: Jobs, db: Database) -> None:
    task = app.tasks[ADD]
    group(task.s(1).set(idempotency_key="k"), task.s(2)).apply_async()
    again = doors.enqueue(ADD, (9,), **REPLACE)
    assert (again.deduplicated, again.replaced) == (True, False)
    before = count(db)
    for canvas in (group(task.s(1).set(**REPLACE), task.s(2)), chain(task.s(1).set(**REPLACE), task.s(2))):
        with pytest.raises(InvalidJob, match="on_conflict: a member of a group, chord or chain"):
            canvas.apply_async()
    assert count(db) == before


@pytest.mark.parametrize("value", ["fail", True, 1], ids=repr)
def test_what_is_no_way_is_refused(doors: Jobs, db: Database, value: Any) -> None:
    with pytest.raises(InvalidJob, match="on_conflict: one of return, replace is expected"):
        doors.enqueue(ADD, (1,), idempotency_key="k", on_conflict=value)
    with pytest.raises(InvalidJob, match="on_conflict: needs an idempotency_key"):
        doors.enqueue(ADD, (1,), on_conflict="replace")
    assert count(db) == 0


def by_call(app: Celery, doors: Jobs, value: int) -> str:
    result: Any = app.tasks[ADD].apply_async((value,), **REPLACE)
    assert result.id == doors.get(result.job_id).task_id
    return str(result.job_id)


def in_bulk(app: Celery, doors: Jobs, value: int) -> str:
    items = [{"task": ADD, "args": [n], **REPLACE} for n in (100, 101, value)]
    made = doors.enqueue_many([{"task": ADD, "args": [5]}, *items])
    assert [outcome.replaced for outcome in made[2:]] == [True, True]
    return str(made[-1].job_id)


def in_a_batch(app: Celery, doors: Jobs, value: int) -> str:
    with doors.batch():
        result: Any = app.tasks[ADD].apply_async((value,), **REPLACE)
    return str(result.job_id)


def in_a_transaction(app: Celery, doors: Jobs, value: int) -> str:
    engine = create_engine(app.celery_jobs.db.url)
    with Session(engine) as session:
        id = doors.enqueue(ADD, (value,), session=session, **REPLACE).id
        session.commit()
    engine.dispose()
    return id


DOORS = [by_call, in_bulk, in_a_batch, in_a_transaction]


@pytest.mark.parametrize("door", DOORS, ids=[door.__name__ for door in DOORS])
def test_every_door_sends_what_the_job_is_now(
    app: Celery, doors: Jobs, db: Database, broker: Broker, door: Callable[..., str]
) -> None:
    id = door(app, doors, 1)
    before = edition(db, id)
    assert door(app, doors, 2) == id
    assert edition(db, id) > before
    mine = [message for message in broker.messages() if message["headers"][JOB_HEADER] == id]
    assert {message["headers"]["id"] for message in mine} == {doors.get(id).task_id}
    current = [message for message in mine if message["headers"].get(EDITION_HEADER) == edition(db, id)]
    assert len(current) == 1
    with shared_worker(app):
        assert doors.wait(id, 30).result == 2
    assert doors.get(id).attempt_number == 1


def test_a_rollback_undoes_it(doors: Jobs, db: Database) -> None:
    first = doors.enqueue(ADD, (1,), **REPLACE)
    engine = create_engine(db.url)
    with Session(engine) as session:
        assert doors.enqueue(ADD, (2,), session=session, **REPLACE).replaced
        session.rollback()
    engine.dispose()
    assert (str(doors.arguments(first.id)), edition(db, first.id)) == ("(1)", 0)


def test_a_payload_is_replaced_too(doors: Jobs, db: Database) -> None:
    first = doors.enqueue_payload("outside", {"n": 1}, **REPLACE)
    second = doors.enqueue_payload("outside", {"n": 2}, priority=3, **REPLACE)
    assert (second.id, second.replaced) == (first.id, True)
    (job,) = doors.claim("outside", "anne")
    assert (job.id, job.payload, job.priority) == (first.id, {"n": 2}, 3)
    assert not doors.enqueue_payload("outside", {"n": 3}, **REPLACE).replaced
    doors.complete(job.id, "anne")


def test_an_old_message_claims_nothing_and_burns_nothing(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,), **REPLACE).id
    doors.enqueue(ADD, (2,), **REPLACE)
    lost = attempts.claim(db, id, new_id(), new_id(), 60)
    assert isinstance(lost, attempts.Unclaimed)
    assert lost.reason == "replaced"
    assert doors.get(id).status == "pending"
    assert isinstance(attempts.claim(db, id, new_id(), new_id(), 60, edition=1), Claim)


def test_headers_say_the_edition_where_there_is_one(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,), **REPLACE).id
    for expected in (None, 1, 2):
        (job,) = sends.fetch(db, [id])
        assert json.loads(headers_text(job)) == headers_for(job)
        assert headers_for(job).get(EDITION_HEADER) == expected
        doors.enqueue(ADD, (2,), **REPLACE)


def stale(heard: list[Event]) -> int:
    """How many messages were dropped as older than their job."""
    return sum(event.kind == "job.dropped" and event.details["reason"] == "replaced" for event in heard)


def test_a_promoter_in_the_middle_of_sending_loses_nothing(
    app: Celery, doors: Jobs, db: Database, plugin: Plugin, heard: list[Event]
) -> None:
    """It has read the old message, and sends it after the replacement: that one is dropped, the new one runs."""
    id = doors.enqueue(ADD, (1,), delay=600, **REPLACE).id
    doors.fire(id)
    old = sends.fetch(db, [id])
    doors.enqueue(ADD, (2,), **REPLACE)
    assert sender_of(plugin).send(old) == 1
    with shared_worker(app):
        assert doors.wait(id, 30).result == 2
        wait_until(lambda: stale(heard) >= 2)
    assert doors.get(id).attempt_number == 1


def test_a_send_that_failed_does_not_unsend_what_came_after(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,), **REPLACE).id
    (old,) = sends.fetch(db, [id])
    doors.enqueue(ADD, (2,), **REPLACE)
    sends.mark_unsent(db, [(id, old.sent_at)])
    assert doors.get(id, attempts=True)[0].sent_at is not None


def test_many_replace_while_a_claim_comes(doors: Jobs, db: Database) -> None:
    """What was claimed is what the last replacement before it said, in all its parts."""
    for turn in range(3):
        options = {**REPLACE, "idempotency_key": f"k{turn}"}
        id = doors.enqueue(ADD, (0,), tags=["0"], **options).id
        done: list[Claim] = []

        def produce(number: int, options: dict[str, Any]) -> tuple[int, bool]:
            return number, doors.enqueue(ADD, (number,), tags=[str(number)], priority=number, **options).replaced

        def take(id: str, done: list[Claim]) -> None:
            wait_until(lambda: edition(db, id) >= 5)
            while not done:
                won = attempts.claim(db, id, new_id(), new_id(), 600, edition=edition(db, id))
                done += [won] if isinstance(won, Claim) else []

        taker = threading.Thread(target=take, args=(id, done))
        taker.start()
        with ThreadPoolExecutor(PRODUCERS) as pool:
            replaced = dict(pool.map(partial(produce, options=options), range(1, PRODUCERS + 1)))
        taker.join(60)
        run = doors.get(id)
        (won,) = done
        assert won.tags == run.tags == [str(run.priority)]
        assert str(doors.arguments(id)) == f"({run.priority})"
        assert run.priority == 0 or replaced[run.priority]
        assert edition(db, id) == list(replaced.values()).count(True)
        assert run.status == "processing"
        assert count(db, messages) == turn + 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_runs_while_many_replace_is_one_of_them(app: Celery, doors: Jobs, db: Database) -> None:
    ran: list[int] = []

    @app.task(name="index", shared=False)
    def index(version: int) -> int:
        ran.append(version)
        return version

    with ThreadPoolExecutor(PRODUCERS) as pool, shared_worker(app):
        made = list(pool.map(lambda n: doors.enqueue("index", (n,), **REPLACE), range(PRODUCERS)))
        (id,) = {run.id for run in made}
        run = doors.wait(id, 60)
    assert ran == [run.result]
    assert str(doors.arguments(id)) == f"({run.result})"
    assert edition(db, id) == [one.replaced for one in made].count(True)
