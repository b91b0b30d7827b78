"""An app on either database, its jobs, what its broker holds, and time that passes when told."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import select

from celery_jobs import Jobs, publishing
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.recording import read_wire
from celery_jobs.store import attempts, chains
from celery_jobs.store.db import Database, now
from celery_jobs.store.rows import Claim, Failure
from celery_jobs.store.tables import jobs, messages, metadata, queues
from tests.apps import end, make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

ADD = "jobs.add"
BOOM = "jobs.boom"
PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
FAILURE = Failure("exception", "ValueError", "card declined", "Traceback ...")


def declare(app: Celery) -> Celery:
    """Give an app the tasks of these tests."""

    @app.task(name=ADD, shared=False)
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    @app.task(name=BOOM, shared=False)
    def boom(*_: Any, **__: Any) -> None:
        raise ValueError("boom")

    @app.task(name="jobs.total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    app.finalize()
    return app


@pytest.fixture
def new_app(broker_url: str, database_url: str) -> Iterator[Callable[..., Celery]]:
    """Makes apps on one broker and one database, which has to be healthy at the end."""
    made: list[Celery] = []

    def new(**conf: Any) -> Celery:
        made.append(declare(make_app(broker_url, database_url, **conf)))
        return made[-1]

    yield new
    for app in made:
        end(app)


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    return new_app()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the messages that Celery has made."""
    ids: list[str] = []

    def read(plugin: Any, headers: Any, body: Any) -> Any:
        ids.append(headers["id"])
        return read_wire(plugin, headers, body)

    monkeypatch.setattr(publishing, "read_wire", read)
    return ids


@pytest.fixture
def doors(app: Celery) -> Jobs:
    """The verbs of the app."""
    return Jobs(app)


@pytest.fixture
def db(app: Celery) -> Database:
    return plugin_of(app).db


@pytest.fixture
def broker(broker_url: str) -> Iterator[Broker]:
    with Redis.from_url(broker_url) as client:
        yield Broker(client)


class Broker:
    """What lies in the broker's queues."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def messages(self, queue: str = "celery") -> list[dict[str, Any]]:
        """The messages of a queue, over the four lists that Redis has for priorities."""
        return [json.loads(item) for level in PRIORITIES for item in self.client.lrange(f"{queue}{level}", 0, -1)]

    def jobs(self, queue: str = "celery") -> Counter[str]:
        """How many messages each job has."""
        return Counter(message["headers"][JOB_HEADER] for message in self.messages(queue))

    def count(self, queue: str = "celery") -> int:
        return sum(int(self.client.llen(f"{queue}{level}")) for level in PRIORITIES)

    def clear(self) -> None:
        self.client.flushdb()


def snapshot(db: Database) -> list[Any]:
    """Every row, to be compared."""
    with db.reading() as connection:
        rows = [tuple(row) for row in connection.execute(select(jobs).order_by(jobs.c.id))]
        return rows + [row.id for row in connection.execute(select(messages.c.id).order_by(messages.c.id))]


def held(db: Database) -> str:
    """All that the database holds, as one text."""
    with db.reading() as connection:
        tables = [connection.execute(select(table)).all() for table in metadata.sorted_tables]
        return "\n".join(str(tuple(row)) for rows in tables for row in rows)


def count(db: Database, table: Any = jobs) -> int:
    with db.reading() as connection:
        return len(connection.execute(select(next(iter(table.primary_key)))).all())


def claim(db: Database, job_id: str) -> Claim:
    claimed = attempts.claim(db, job_id, new_id(), new_id(), 1350)
    assert isinstance(claimed, Claim), claimed
    return claimed


def succeed(db: Database, job_id: str) -> str:
    """Run a job by hand: it succeeds."""
    assert attempts.complete(db, claim(db, job_id), '"done"', 5)
    return job_id


def fail(db: Database, job_id: str, delay: float = 600, failure: Failure = FAILURE) -> str:
    """Run a job by hand: it fails, and its retry waits; gives the retry's id."""
    outcome = chains.retry(db, claim(db, job_id), failure, chains.Next(delay=delay, by_policy=True), 5)
    assert isinstance(outcome, chains.Retried)
    return outcome.job_id


def bury(db: Database, job_id: str, failure: Failure = FAILURE) -> str:
    """Run a job by hand: it fails for good."""
    assert chains.bury(db, claim(db, job_id), failure, 5) is not None
    return job_id


def dead(doors: Jobs, db: Database, *args: Any, **options: Any) -> str:
    """A dead letter of `add` with these arguments."""
    return bury(db, doors.enqueue(ADD, args or (1, 2), **options).id)


def many_dead(doors: Jobs, db: Database, number: int, **options: Any) -> list[str]:
    """Dead letters, made quickly."""
    made = doors.enqueue_many([{"task": ADD, "args": [n, n]} for n in range(number)], **options)
    ids = [str(outcome.job_id) for outcome in made]
    with db.transaction() as connection:
        for first in range(0, number, 500):
            connection.execute(
                jobs.update()
                .where(jobs.c.id.in_(ids[first : first + 500]))
                .values(
                    status="failed",
                    final_status="dead_lettered",
                    finished_at=now(),
                    ended_at=now(),
                    dead_lettered_at=now(),
                    failure_reason="exception",
                    error_type="ValueError",
                    error_message="card declined",
                )
            )
    return ids


def pause(db: Database, queue: str = "celery") -> None:
    db.run(lambda connection: connection.execute(queues.insert().values(name=queue, paused_at=now())))


def resume(db: Database, queue: str = "celery") -> None:
    db.run(lambda connection: connection.execute(queues.delete().where(queues.c.name == queue)))
