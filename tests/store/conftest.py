"""The store's tests: factories, the passing of time, and races, on both databases."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from sqlalchemy import delete, select, update

from celery_jobs.errors import JobsError
from celery_jobs.ids import new_id
from celery_jobs.settings import QueueSettings
from celery_jobs.store import attempts, chains, dead_letters, enqueue, invariants, limited_claims
from celery_jobs.store.db import Database, now
from celery_jobs.store.rows import JOB_COLUMNS, Claim, Enqueued, Failure, Job, Message, NewJob
from celery_jobs.store.tables import Timestamp, alerts, jobs, queues, schedules, services, ticks, workers
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

T = TypeVar("T")

QUEUE = "shop"
TASK = "shop.charge"
LEASE = 1350.0
FAILURE = Failure("exception", "ValueError", "card declined", "Traceback ...")

RACERS = 16
LONGEST_RACE = 40.0


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database that has to be healthy, whatever the test did to it."""
    database = Database(database_url, timeout=20)  # sixteen racers on a busy machine are slow, not stuck
    yield database
    broken = invariants.check(database)
    database.dispose()
    assert broken == []


def new_message(**overrides: Any) -> Message:
    """A message of the task with one argument."""
    values: dict[str, Any] = {
        "id": new_id(),
        "body": b'[[1], {}, {"callbacks": null}]',
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": "{}",
        "properties": "{}",
        "exchange": "",
        "routing_key": QUEUE,
    }
    return Message(**{**values, **overrides})


def new_job(**overrides: Any) -> NewJob:
    """A job due now with four attempts; `args` become the body of its message."""
    job_id = overrides.get("id") or new_id()
    root_id = overrides.get("root_id")
    body = json.dumps([overrides.pop("args", [1]), {}, {"callbacks": None}]).encode()
    values: dict[str, Any] = {
        "id": job_id,
        "task_id": job_id,
        "task": TASK,
        "queue": QUEUE,
        "message": new_message(body=body, headers=json.dumps({"root_id": root_id})),
        "max_attempts": 4,
        "retries_enabled": True,
    }
    return NewJob(**{**values, **overrides})


def store(db: Database, **overrides: Any) -> str:
    """Enqueue a new job and give its id."""
    enqueued = enqueue.enqueue(db, new_job(**overrides))
    assert not enqueued.deduplicated
    return enqueued.job_id


def claim(db: Database, job_id: str, worker: str | None = None, token: str | None = None) -> Claim:
    """Claim a job, which must succeed."""
    worker, token = worker or new_id(), token or new_id()
    claimed = attempts.claim(db, job_id, worker, token, LEASE)
    if not isinstance(claimed, Claim) and claimed.reason == claimed.LIMITED:
        winner = {"worker": worker, "lease_token": token, "lease": LEASE, "edition": 0}
        claimed = limited_claims.claim(db, job_id, lambda queue: QueueSettings(), winner, 75).answer
    assert isinstance(claimed, Claim), claimed
    return claimed


def begin(db: Database, **overrides: Any) -> Claim:
    """Enqueue a job and claim it."""
    return claim(db, store(db, **overrides))


def complete(db: Database, job_id: str) -> str:
    """Claim and complete a job."""
    assert attempts.complete(db, claim(db, job_id), '"done"', 5)
    return job_id


def retry(db: Database, job: Claim, **following: Any) -> chains.Retried:
    """Fail a claimed attempt and store the next one."""
    outcome = chains.retry(db, job, FAILURE, chains.Next(by_policy=True, **following), 5)
    assert isinstance(outcome, chains.Retried)
    return outcome


def dead_letter(db: Database, **overrides: Any) -> str:
    """The original of a chain of one attempt that is in the dead-letter queue."""
    job = begin(db, **overrides)
    assert chains.bury(db, job, FAILURE) is not None
    return job.id


def replay(db: Database, new: NewJob, force: bool = False) -> Enqueued:
    """Begin one chain, a replay of the ended run `new.replay_of`; raises what refuses it."""
    (outcome,) = dead_letters.replay_all(db, [new], force)
    if isinstance(outcome, JobsError):
        raise outcome
    return outcome


def stored(db: Database, job_id: str) -> Job:
    """One row."""
    with db.reading() as connection:
        query = select(*(jobs.c[name] for name in JOB_COLUMNS)).where(jobs.c.id == job_id)
        return Job(**connection.execute(query).one()._mapping)


def snapshot(db: Database) -> list[Any]:
    """Every row of the jobs, to be compared."""
    with db.reading() as connection:
        return [tuple(row) for row in connection.execute(select(jobs).order_by(jobs.c.id))]


def count(db: Database, table: Any) -> int:
    """How many rows a table has."""
    with db.reading() as connection:
        return len(connection.execute(select(table)).all())


def change(db: Database, job_id: str, **values: Any) -> None:
    """Write into a row by hand, past every guard."""
    db.run(lambda connection: connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values)))


def pause(db: Database, queue: str = QUEUE, seconds: float | None = None) -> None:
    """Pause a queue, for `seconds` or until it is resumed."""
    until = None if seconds is None else now(seconds)
    row = {"name": queue, "paused_at": now(), "paused_until": until}
    db.run(lambda connection: connection.execute(queues.insert().values(row)))


def resume(db: Database, queue: str = QUEUE) -> None:
    """End a pause."""
    db.run(lambda connection: connection.execute(delete(queues).where(queues.c.name == queue)))


def shift(db: Database, seconds: float) -> None:
    """Let `seconds` pass: every moment in the database moves into the past by so much."""
    with db.transaction() as connection:
        for table in (jobs, workers, services, queues, alerts, ticks, schedules):
            key = next(iter(table.primary_key))
            moments = [column for column in table.c if isinstance(column.type, Timestamp)]
            for row in connection.execute(select(key, *moments)).all():
                earlier = {
                    column.name: getattr(row, column.name) - timedelta(seconds=seconds)
                    for column in moments
                    if getattr(row, column.name) is not None
                }
                connection.execute(update(table).where(key == row[0]).values(earlier))


def beside(db: Database, change: Callable[[Connection], object], act: Callable[[], T]) -> T:
    """Begin `act` beside a transaction that makes a change, which commits when `act` waits for it; what `act` gave."""
    outcome: Future[T] = Future()
    with db.transaction() as connection:
        change(connection)
        threading.Thread(target=_settle, args=(act, outcome), daemon=True).start()
        if not db.is_sqlite:  # which lets no other writer in before the end
            wait_until(lambda: outcome.done() or _somebody_waits(db), message="nobody waits for the transaction")
    return outcome.result(LONGEST_RACE)


def _somebody_waits(db: Database) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with db.reading() as connection:
        return bool(connection.exec_driver_sql(query).scalar_one())


def race(*acts: Callable[[], T]) -> list[T]:
    """Do all of these at the same moment, each in its own thread; what they gave, in order."""
    start = threading.Barrier(len(acts))
    outcomes: list[Future[T]] = [Future() for _ in acts]

    def run(act: Callable[[], T]) -> T:
        start.wait(LONGEST_RACE)
        return act()

    for act, outcome in zip(acts, outcomes, strict=True):
        threading.Thread(target=_settle, args=(partial(run, act), outcome), daemon=True).start()
    return [outcome.result(LONGEST_RACE) for outcome in outcomes]


def _settle(act: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(act())
    except BaseException as error:
        outcome.set_exception(error)
