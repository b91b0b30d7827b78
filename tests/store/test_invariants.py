from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from celery_jobs.ids import new_id
from celery_jobs.store import chains, endings
from celery_jobs.store.db import Database
from celery_jobs.store.invariants import INVARIANTS, check
from celery_jobs.store.rows import JOB_COLUMNS
from tests.store.conftest import (
    FAILURE,
    begin,
    change,
    claim,
    complete,
    dead_letter,
    new_job,
    replay,
    retry,
    shift,
    stored,
)
from tests.store.conftest import store as enqueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime(2026, 4, 10, tzinfo=UTC)


@pytest.fixture
def broken(database_url: str) -> Iterator[Database]:
    """A database that is broken by hand."""
    database = Database(database_url, timeout=20)
    yield database
    database.dispose()


def _final_status_of_a_pending_job(db: Database) -> str:
    job_id = enqueue(db)
    change(db, job_id, final_status="cancelled")
    return job_id


def _no_final_status_of_an_ended_job(db: Database) -> str:
    job_id = complete(db, enqueue(db))
    change(db, job_id, final_status=None)
    return job_id


def _original_of_another_chain(db: Database) -> str:
    job_id = enqueue(db)
    change(db, job_id, original_id=enqueue(db))
    return job_id


def _first_attempt_marked_as_retry(db: Database) -> str:
    job_id = enqueue(db)
    change(db, job_id, is_retry=True)
    return job_id


def _retry_not_marked_as_one(db: Database) -> str:
    job_id = retry(db, begin(db)).job_id
    change(db, job_id, is_retry=False)
    return job_id


def _gap_in_the_attempts(db: Database) -> str:
    first = begin(db)
    change(db, retry(db, first).job_id, attempt_number=3)
    return first.id


def _pending_retry_that_is_not_there(db: Database) -> str:
    job_id = complete(db, enqueue(db))
    change(db, job_id, has_pending_retry=True)
    return job_id


def _pending_retry_that_nobody_knows(db: Database) -> str:
    first = begin(db)
    retry(db, first)
    change(db, first.id, has_pending_retry=False)
    return first.id


def _pending_retry_on_a_retry(db: Database) -> str:
    job_id = retry(db, begin(db)).job_id
    change(db, job_id, has_pending_retry=True)
    return job_id


def _dead_letter_without_its_moment(db: Database) -> str:
    job_id = dead_letter(db)
    change(db, job_id, dead_lettered_at=None)
    return job_id


def _moment_without_a_dead_letter(db: Database) -> str:
    job_id = complete(db, enqueue(db))
    change(db, job_id, dead_lettered_at=NOW)
    return job_id


def _moment_of_a_waiting_job(db: Database) -> str:
    job_id = enqueue(db)
    change(db, job_id, dead_lettered_at=NOW)
    return job_id


def _completed_without_success(db: Database) -> str:
    job_id = complete(db, enqueue(db))
    change(db, job_id, final_status="failed_no_retries")
    return job_id


def _processing_without_a_worker(db: Database) -> str:
    job_id = begin(db).id
    change(db, job_id, worker=None)
    return job_id


def _processing_without_a_token(db: Database) -> str:
    job_id = begin(db).id
    change(db, job_id, lease_token=None)
    return job_id


def _processing_without_an_end_of_its_lease(db: Database) -> str:
    job_id = begin(db).id
    change(db, job_id, lease_expires_at=None)
    return job_id


def _two_live_attempts(db: Database) -> str:
    first = begin(db)
    retry(db, first)
    change(db, first.id, status="pending", final_status=None)
    return first.id


def _started_too_early(db: Database) -> str:
    job = begin(db)
    change(db, job.id, scheduled_at=stored(db, job.id).scheduled_at + timedelta(seconds=1800))
    return job.id


def _more_attempts_than_allowed(db: Database) -> str:
    first = begin(db, max_attempts=1)
    return retry(db, first).job_id


def _key_on_a_retry(db: Database) -> str:
    job_id = retry(db, begin(db)).job_id
    change(db, job_id, idempotency_scope="shop", idempotency_key="order-1")
    return job_id


def _two_of_a_key_at_once(db: Database) -> str:
    ids = [begin(db).id, begin(db).id]
    for job_id in ids:
        change(db, job_id, concurrency_key="customer", concurrency_limit=1)
    return ids[1]


def _replay_of_a_living_chain(db: Database) -> str:
    job_id = enqueue(db)
    change(db, job_id, replay_of=enqueue(db))
    return job_id


def _replay_of_itself(db: Database) -> str:
    job_id = complete(db, enqueue(db))
    change(db, job_id, replay_of=job_id)
    return job_id


def _replays_in_a_circle(db: Database) -> str:
    first = dead_letter(db)
    second = replay(db, new_job(replay_of=first)).job_id
    chains.bury(db, claim(db, second), FAILURE)
    change(db, first, replay_of=second)
    return first


def _ended_chain_without_its_end(db: Database) -> str:
    job_id = complete(db, enqueue(db))
    change(db, job_id, ended_at=None)
    return job_id


def _end_of_a_living_chain(db: Database) -> str:
    job_id = enqueue(db)
    change(db, job_id, ended_at=NOW)
    return job_id


def _end_on_a_retry(db: Database) -> str:
    job_id = complete(db, retry(db, begin(db)).job_id)
    change(db, job_id, ended_at=NOW)
    return job_id


BREAKS: list[tuple[int, Callable[[Database], str]]] = [
    (1, _final_status_of_a_pending_job),
    (1, _no_final_status_of_an_ended_job),
    (2, _original_of_another_chain),
    (2, _first_attempt_marked_as_retry),
    (2, _retry_not_marked_as_one),
    (2, _gap_in_the_attempts),
    (3, _pending_retry_that_is_not_there),
    (3, _pending_retry_that_nobody_knows),
    (3, _pending_retry_on_a_retry),
    (4, _dead_letter_without_its_moment),
    (4, _moment_without_a_dead_letter),
    (4, _moment_of_a_waiting_job),
    (5, _completed_without_success),
    (6, _processing_without_a_worker),
    (6, _processing_without_a_token),
    (6, _processing_without_an_end_of_its_lease),
    (7, _two_live_attempts),
    (8, _started_too_early),
    (9, _more_attempts_than_allowed),
    (10, _key_on_a_retry),
    (11, _two_of_a_key_at_once),
    (12, _replay_of_a_living_chain),
    (12, _replay_of_itself),
    (12, _replays_in_a_circle),
    (13, _ended_chain_without_its_end),
    (13, _end_of_a_living_chain),
    (13, _end_on_a_retry),
]


@pytest.mark.parametrize(
    ("number", "break_it"), BREAKS, ids=[f"{number}{break_it.__name__}" for number, break_it in BREAKS]
)
def test_what_breaks_an_invariant_is_found_under_its_number(
    broken: Database, number: int, break_it: Callable[[Database], str]
) -> None:
    complete(broken, enqueue(broken))
    job_id = break_it(broken)
    assert (number, job_id) in {(found.number, found.job_id) for found in check(broken)}


def test_two_owners_of_a_key_are_found(broken: Database) -> None:
    with broken.transaction() as connection:
        connection.exec_driver_sql("DROP INDEX jobs_idempotency")
    ids = [enqueue(broken), enqueue(broken)]
    for job_id in ids:
        change(broken, job_id, idempotency_scope="shop", idempotency_key="order-1")
    found = check(broken)
    assert {violation.number for violation in found} == {10}
    assert {violation.job_id for violation in found} <= set(ids)


def test_two_live_chains_of_a_task_id_are_found(broken: Database) -> None:
    ids = [enqueue(broken, task_id="order-7"), enqueue(broken)]
    change(broken, ids[1], task_id="order-7", reuse=1)
    found = check(broken)
    assert {violation.number for violation in found} == {13}
    assert {violation.job_id for violation in found} <= set(ids)


def test_a_chain_without_its_original_is_found(broken: Database) -> None:
    job_id = retry(broken, begin(broken)).job_id
    change(broken, job_id, original_id=new_id())
    assert 2 in {found.number for found in check(broken)}


def test_every_invariant_can_be_broken() -> None:
    assert {number for number, _ in BREAKS} == {number for number, _, _ in INVARIANTS}


def test_at_most_a_hundred_are_shown_for_each_invariant(broken: Database) -> None:
    job_id = complete(broken, enqueue(broken))
    with broken.transaction() as connection:
        columns = ", ".join(f'"{name}"' for name in JOB_COLUMNS if name not in ("id", "task_id"))
        for _ in range(101):
            copy = new_id()
            connection.exec_driver_sql(
                f"INSERT INTO jobs (id, task_id, message_id, {columns}) "
                f"SELECT {_literal(broken, copy)}, '{copy}', message_id, {columns} "
                f"FROM jobs WHERE id = {_literal(broken, job_id)}"
            )
        connection.exec_driver_sql("UPDATE jobs SET original_id = id, final_status = NULL")
    found = [violation.number for violation in check(broken)]
    assert found.count(1) == 100


def _literal(db: Database, id: str) -> str:
    return f"'{id.replace('-', '')}'" if db.is_sqlite else f"'{id}'::uuid"


def test_a_healthy_database_breaks_nothing(broken: Database) -> None:
    enqueue(broken, delay=3600)
    complete(broken, enqueue(broken, idempotency_scope="shop", idempotency_key="order-1"))
    dead = dead_letter(broken)
    replay(broken, new_job(replay_of=dead))
    first = begin(broken)
    second = retry(broken, first, delay=60)
    shift(broken, 60)
    third = retry(broken, claim(broken, second.job_id))
    claim(broken, third.job_id)
    endings.cancel(broken, enqueue(broken))
    off = begin(broken, retries_enabled=False)
    chains.bury(broken, off, FAILURE)
    again = begin(broken)
    endings.lose(broken, again.id, 3, lease_token=again.lease_token)
    for _ in range(2):
        complete(broken, enqueue(broken, task_id="order-7"))
    assert check(broken) == []
