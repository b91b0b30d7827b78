"""batch(): plain `.delay()` calls gathered in one transaction, and canvas, retries and other apps inside one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from celery_jobs import DuplicateJob, InvalidJob, Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.sending import sender_of
from celery_jobs.store.tables import messages
from celery_jobs.testing import Sandbox
from tests.apps import make_app, working
from tests.jobs.conftest import ADD, Broker, count, declare, pause
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database


def test_calls_are_stored_and_sent_at_the_end_of_the_block(
    doors: Jobs, app: Celery, db: Database, broker: Broker
) -> None:
    add = app.tasks[ADD]
    with doors.batch():
        results = [
            add.delay(1, 2),
            add.apply_async((3, 4), queue="other"),
            add.s(5, 6).delay(),
            app.send_task(ADD, (7, 8)),
            add.apply_async((9, 9), countdown=600),
        ]
        assert (count(db), broker.count(), broker.count("other")) == (0, 0, 0)
    assert [result.job_id for result in results] == [doors.get(result.id).id for result in results]
    assert [result.deduplicated for result in results] == [False] * 5
    assert (count(db), count(db, messages)) == (5, 5)
    sent = broker.jobs() + broker.jobs("other")
    assert sent == dict.fromkeys([result.job_id for result in results[:4]], 1)


def test_what_was_gathered_runs_and_its_results_arrive(doors: Jobs, app: Celery) -> None:
    with working(app):
        with doors.batch():
            results = [app.tasks[ADD].delay(n, 1) for n in range(4)]
        assert [result.get(timeout=40) for result in results] == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [1, 2])
def test_a_batch_tries_a_broker_that_has_failed(
    doors: Jobs, app: Celery, broker: Broker, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = sender_of(plugin_of(app)).breaker
    breaker.failed()
    monkeypatch.setattr(breaker, "_clock", lambda: time.monotonic() + breaker.interval + 1)
    with doors.batch():
        results = [app.tasks[ADD].delay(n) for n in range(number)]
    assert broker.jobs() == {result.job_id: 1 for result in results}


def test_an_empty_batch_is_nothing(doors: Jobs, db: Database) -> None:
    with doors.batch():
        pass
    assert count(db) == 0


def test_an_exception_in_the_block_stores_nothing_and_passes(
    doors: Jobs, app: Celery, db: Database, broker: Broker
) -> None:

    def block() -> None:
        with doors.batch():
            app.tasks[ADD].delay(1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        block()
    assert (count(db), count(db, messages), broker.count()) == (0, 0, 0)
    app.tasks[ADD].delay(1)
    assert (count(db), broker.count()) == (1, 1)


def test_a_bad_call_raises_where_it_is_made(doors: Jobs, app: Celery, db: Database) -> None:
    with doors.batch():
        with pytest.raises(InvalidJob, match="delay"):
            app.tasks[ADD].apply_async((1,), delay=-1)
        app.tasks[ADD].delay(1)
    assert count(db) == 1


def test_duplicates_in_a_batch_are_one_job(doors: Jobs, app: Celery, db: Database, broker: Broker) -> None:
    before = app.tasks[ADD].apply_async((0,), idempotency_key="before")
    broker.clear()
    with doors.batch():
        old = app.tasks[ADD].apply_async((0,), idempotency_key="before")
        first = app.tasks[ADD].apply_async((1,), idempotency_key="k")
        second = app.tasks[ADD].apply_async((2,), idempotency_key="k")
    assert (old.id, old.job_id, old.deduplicated) == (before.id, before.job_id, True)
    assert (second.id, second.job_id, second.deduplicated) == (first.id, first.job_id, True)
    assert (first.payload_mismatch, second.payload_mismatch) == (False, True)
    assert broker.jobs() == {first.job_id: 1}
    assert count(db) == 2


def test_a_member_of_a_group_that_would_be_another_job_undoes_the_batch(
    doors: Jobs, app: Celery, db: Database, broker: Broker
) -> None:
    add = app.tasks[ADD]
    add.apply_async((1,), idempotency_key="k")
    broker.clear()

    def block() -> None:
        with doors.batch():
            add.delay(5)
            group(add.s(1).set(idempotency_key="k"), add.s(2)).delay()

    with pytest.raises(DuplicateJob, match="'k'"):
        block()
    assert (count(db), count(db, messages), broker.count()) == (1, 1, 0)


def test_an_inner_batch_is_stored_at_its_own_end(doors: Jobs, app: Celery, db: Database, broker: Broker) -> None:
    add = app.tasks[ADD]
    with doors.batch():
        outer = add.delay(1)
        with doors.batch():
            inner = add.delay(2)
        assert doors.get(inner.id).id == inner.job_id
        assert broker.jobs() == {inner.job_id: 1}
        after = add.delay(3)
        assert count(db) == 1
    assert broker.jobs() == dict.fromkeys([outer.job_id, inner.job_id, after.job_id], 1)


def test_enqueue_and_enqueue_many_are_stored_at_once_inside_a_batch(doors: Jobs, app: Celery, db: Database) -> None:
    with doors.batch():
        app.tasks[ADD].delay(1)
        run = doors.enqueue(ADD, (2,))
        (outcome,) = doors.enqueue_many([{"task": ADD, "args": [3]}])
        assert doors.get(run.id).status == doors.get(str(outcome.job_id)).status == "pending"
        assert count(db) == 2
        app.tasks[ADD].delay(4)
    assert count(db) == 4


def test_each_app_has_batches_of_its_own(
    doors: Jobs, app: Celery, db: Database, broker_url: str, new_sqlite_database: Callable[[], str]
) -> None:
    other = declare(make_app(broker_url, new_sqlite_database().replace("jobs.sqlite3", "other.sqlite3")))
    from celery_jobs.store import migrations

    migrations.upgrade(other.conf.jobs_database_url)
    other_db = plugin_of(other).db
    with doors.batch():
        app.tasks[ADD].delay(1)
        other.tasks[ADD].delay(2)
        assert (count(db), count(other_db)) == (0, 1)
        with Jobs(other).batch():
            app.tasks[ADD].delay(3)
            other.tasks[ADD].delay(4)
            assert (count(db), count(other_db)) == (0, 1)
            Jobs(other).enqueue(ADD, (5,))
            app.tasks[ADD].delay(6)
        assert (count(db), count(other_db)) == (0, 3)
    assert (count(db), count(other_db)) == (3, 3)
    other_db.dispose()
    other.close()


def test_threads_do_not_see_each_others_batch(doors: Jobs, app: Celery, db: Database) -> None:
    with doors.batch():
        app.tasks[ADD].delay(1)
        thread = threading.Thread(target=app.tasks[ADD].delay, args=(2,))
        thread.start()
        thread.join()
        assert count(db) == 1
    assert count(db) == 2


def test_a_batch_in_a_paused_queue_is_held(doors: Jobs, app: Celery, db: Database, broker: Broker) -> None:
    pause(db)
    with doors.batch():
        result = app.tasks[ADD].delay(1)
    assert doors.get(result.id).attempts[0].sent_at is None
    assert broker.count() == 0


# Canvas


def test_canvas_inside_a_batch_runs_to_its_end(doors: Jobs, app: Celery) -> None:
    add, total = app.tasks[ADD], app.tasks["jobs.total"]
    with working(app):
        with doors.batch():
            chained = chain(add.s(1, 1), add.s(2), add.s(3)).delay()
            grouped = group(add.s(n, n) for n in range(3)).delay()
            joined = chord([add.s(n, 1) for n in range(3)], total.s()).delay()
            both = chain(group(add.s(1, 1), add.s(2, 2)), total.s(), add.s(10)).delay()
        assert chained.get(timeout=40) == 7
        assert grouped.get(timeout=40) == [0, 2, 4]
        assert joined.get(timeout=40) == 6
        assert both.get(timeout=40) == 16
    runs = doors.list(limit=1000)
    assert {run.final_status for run in runs} == {"success"}
    assert len(runs) == 3 + 3 + 4 + 4


# Inside a running task


def define(app: Celery) -> Any:
    """Tasks that have a batch open while they end in their own ways."""
    doors = Jobs(app)

    @app.task(name="jobs.spreads", shared=False)
    def spreads(number: int) -> int:
        with doors.batch():
            for n in range(number):
                app.tasks[ADD].delay(n, 100)
        return number

    @app.task(name="jobs.asks_again", bind=True, shared=False)
    def asks_again(self: Any) -> str:
        with doors.batch():
            app.tasks[ADD].delay(1, 1)
            if self.request.retries == 0:
                raise self.retry(countdown=0.1)
        return "second"

    @app.task(name="jobs.asks_again_quietly", bind=True, shared=False)
    def asks_again_quietly(self: Any) -> str:
        with doors.batch():
            app.tasks[ADD].delay(1, 1)
            if self.request.retries == 0:
                self.retry(countdown=0.1, throw=False)
        return "second"

    @app.task(name="jobs.replaces", bind=True, shared=False)
    def replaces(self: Any, kind: str) -> Any:
        add, total = app.tasks[ADD], app.tasks["jobs.total"]
        by = {
            "task": add.s(20, 1),
            "chain": chain(add.s(10, 1), add.s(10)),
            "group": group(add.s(10, 1), add.s(10, 0)),
            "chord": chord([add.s(10, 1), add.s(10, 0)], total.s()),
        }
        with doors.batch():
            add.delay(1, 1)
            return self.replace(by[kind])

    @app.task(name="jobs.fails_inside", shared=False)
    def fails_inside() -> None:
        with doors.batch():
            app.tasks[ADD].delay(1, 1)
            raise ValueError("inside")

    return app.tasks


def test_a_batch_inside_a_task_is_stored(doors: Jobs, app: Celery) -> None:
    define(app)
    with working(app):
        assert app.tasks["jobs.spreads"].delay(3).get(timeout=40) == 3
        made = wait_until(lambda: len(found := doors.list(task=ADD, status="success")) == 3 and found)
    assert sorted(run.result for run in made) == [100, 101, 102]


@pytest.mark.parametrize(("name", "stored"), [("jobs.asks_again", 1), ("jobs.asks_again_quietly", 2)])
def test_a_retry_out_of_a_batch_is_the_next_attempt(doors: Jobs, app: Celery, name: str, stored: int) -> None:
    """Raised out of the block, it leaves nothing else behind."""
    define(app)
    with working(app):
        result = app.tasks[name].delay()
        assert result.get(timeout=40) == "second"
        run = doors.wait(result.id, 40)
        assert [job.final_status for job in run.attempts] == ["success", "success"]
        wait_until(lambda: doors.count(task=ADD, status="success") == stored)
    assert doors.count(task=ADD) == stored


def test_a_failure_out_of_a_batch_is_retried_and_stores_nothing_else(doors: Jobs, app: Celery) -> None:
    define(app)
    with working(app):
        run = doors.wait(app.tasks["jobs.fails_inside"].delay().id, 40)
    assert (run.final_status, run.attempt_number) == ("dead_lettered", 3)
    assert doors.count(task=ADD) == 0


@pytest.mark.parametrize(
    ("kind", "expected", "others"), [("task", 21, 1), ("chain", 21, 2), ("group", [11, 10], 2), ("chord", 21, 2)]
)
def test_a_replacement_out_of_a_batch_runs(doors: Jobs, app: Celery, kind: str, expected: Any, others: int) -> None:
    define(app)
    with Sandbox(app) as sandbox:
        result = app.tasks["jobs.replaces"].delay(kind)
        sandbox.drain()
        assert result.get() == expected
        assert doors.count(task=ADD) == others
