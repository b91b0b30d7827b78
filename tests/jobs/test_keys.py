"""Idempotency keys through the app: scopes, many producers at once, and release by hand."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Event, Jobs, KeyNotFound, subscribe, unsubscribe
from tests.apps import make_app
from tests.jobs.conftest import ADD, BOOM, Broker, count, dead, declare, succeed

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database

PROCESSES, THREADS = 8, 8
LONGEST = 120.0
"""Seconds that a process may take to be there, on a busy machine."""


def test_a_scope_of_its_own_spans_tasks_and_keeps_others_out(app: Celery, db: Database) -> None:
    own = {"idempotency_key": "k", "idempotency_scope": "orders"}
    first = app.tasks[ADD].apply_async((1,), **own)
    second = app.tasks[BOOM].apply_async((1,), **own)
    assert (second.job_id, second.deduplicated) == (first.job_id, True)
    assert not app.tasks[ADD].apply_async((1,), idempotency_key="k").deduplicated
    assert not app.tasks[ADD].apply_async((1,), idempotency_key="k", idempotency_scope="others").deduplicated
    assert count(db) == 3


def test_release_gives_the_run_that_had_the_key_and_tells_it(doors: Jobs, db: Database) -> None:
    first = doors.enqueue(ADD, (1,), idempotency_key="k")
    succeed(db, first.id)
    heard: list[Event] = []
    subscribe(heard.append)
    try:
        released = doors.release_key("k", ADD)
    finally:
        unsubscribe(heard.append)
    assert (released.id, released.final_status, released.idempotency_key) == (first.id, "success", None)
    assert [(str(event.kind), event.job_id, event.original_id, event.task) for event in heard] == [
        ("job.key_released", first.id, first.id, ADD)
    ]
    second = doors.enqueue(ADD, (2,), idempotency_key="k")
    assert (second.deduplicated, second.id != first.id) == (False, True)
    assert doors.release_key("k", scope=ADD).id == second.id


def test_a_key_that_no_job_has_is_an_error_that_names_key_and_scope(doors: Jobs) -> None:
    doors.enqueue(ADD, (1,), idempotency_key="k")
    for key, scope in (("other", ADD), ("k", BOOM)):
        with pytest.raises(KeyNotFound, match=f"no job has the idempotency key '{key}' in the scope '{scope}'"):
            doors.release_key(key, scope)


def test_a_run_whose_key_was_released_is_replayed_without_it(doors: Jobs, db: Database) -> None:
    id = dead(doors, db, 1, idempotency_key="k")
    doors.release_key("k", ADD)
    other = doors.enqueue(ADD, (2,), idempotency_key="k")
    again = doors.replay(id)
    assert (again.replay_of, again.idempotency_key) == (id, None)
    assert doors.enqueue(ADD, (2,), idempotency_key="k").id == other.id


def _enqueue(app: Celery, _: int) -> tuple[str, bool]:
    result: Any = app.tasks[ADD].apply_async((1,), idempotency_key="k")
    return result.job_id, result.deduplicated


def _enqueue_in_threads(app: Celery) -> list[tuple[str, bool]]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(_enqueue, app), range(THREADS)))


_app: Celery


def _prepare(broker_url: str, database_url: str, together: Any) -> None:
    """A process of its own: its app is made, and all begin at once."""
    global _app
    _app = declare(make_app(broker_url, database_url))
    Jobs(_app).list()
    together.wait(LONGEST)


def _produce(_: int) -> list[tuple[str, bool]]:
    return _enqueue_in_threads(_app)


@pytest.mark.matrix
def test_sixty_four_producers_with_one_key_make_one_job(
    app: Celery, broker: Broker, broker_url: str, database_url: str, db: Database
) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (broker_url, database_url, context.Barrier(PROCESSES))
    with context.Pool(PROCESSES, _prepare, arguments) as pool:
        parts = pool.map_async(_produce, range(PROCESSES), chunksize=1).get(2 * LONGEST)
    found = [one for part in parts for one in part]
    assert len(found) == PROCESSES * THREADS
    assert len({job_id for job_id, _ in found}) == 1
    assert sorted(deduplicated for _, deduplicated in found) == [False] + [True] * (len(found) - 1)
    assert count(db) == broker.count() == 1
