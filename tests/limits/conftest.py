"""An app with limited queues, and claimers that take its messages off the real broker."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import delete, insert, select

from celery_jobs import Jobs, limits
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.ids import new_id
from celery_jobs.plugin import Plugin, plugin_of
from celery_jobs.store import attempts, invariants
from celery_jobs.store.rows import Claim
from celery_jobs.store.tables import starts
from celery_jobs.verdicts import after_completion
from tests.apps import make_app
from tests.processes import wait_until
from tests.store.conftest import LEASE, shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.runs import Run
    from celery_jobs.store.unclaimed import Unclaimed

QUEUES: dict[str, Any] = {
    "narrow": {"concurrency_limit": 2},
    "slow": {"rate_limit": "5/s"},
    "hourly": {"rate_limit": "2/h"},
    "both": {"concurrency_limit": 2, "rate_limit": "20/s"},
    "pull": {"mode": "pull"},
    "narrow-pull": {"mode": "pull", "concurrency_limit": 2},
    "slow-pull": {"mode": "pull", "rate_limit": "3/m"},
}
TASK = "limits.add"

LISTS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What stands behind a queue's name in the names of its lists on the broker, by level of priority."""

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database makes different."""


def make_limited_app(broker_url: str, database_url: str, **conf: Any) -> Celery:
    """An app with a task and the queues above."""
    app = make_app(broker_url, database_url, jobs_queues=QUEUES, **conf)

    @app.task(name=TASK, shared=False)
    def add(x: int = 0, y: int = 0) -> int:
        return x + y

    app.finalize()
    return app


@dataclass
class Floor:
    """Where jobs wait and run: an app, its broker and its database."""

    app: Celery
    client: Redis
    taken: int = 0
    """Messages that were taken off the broker."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def plugin(self) -> Plugin:
        return plugin_of(self.app)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.app)

    def enqueue(self, number: int = 1, **options: Any) -> list[str]:
        """Ids of so many new jobs."""
        return [str(self.app.tasks[TASK].apply_async(**options).job_id) for _ in range(number)]

    def job(self, job_id: str) -> Any:
        """The newest attempt of a run."""
        return self.jobs.get(job_id).attempts[-1]

    def run(self, job_id: str) -> Run:
        return self.jobs.get(job_id)

    def take(self, queue: str = "celery", timeout: float = 0) -> str | None:
        """The job of the next message of a queue, highest priority first."""
        names = [f"{queue}{level}" for level in reversed(LISTS)]
        found: Any = self.client.brpop(names, timeout) if timeout else self._pop(names)
        if found is None:
            return None
        with self._lock:
            self.taken += 1
        return str(json.loads(found[1])["headers"][JOB_HEADER])

    def _pop(self, names: list[str]) -> Any:
        return next(((name, body) for name in names if (body := self.client.rpop(name))), None)

    def messages(self, queue: str = "celery") -> list[str]:
        """The jobs of all messages of a queue, which are taken."""
        return list(iter(lambda: self.take(queue), None))

    def claim(self, job_id: str, edition: int = 0) -> Claim | Unclaimed:
        """What becomes of a claim."""
        return limits.claim(self.plugin, job_id, new_id(), new_id(), LEASE, edition)

    def start(self, job_id: str) -> Claim:
        """Claim a job, which must succeed."""
        claimed = self.claim(job_id)
        assert isinstance(claimed, Claim), claimed
        return claimed

    def refuse(self, job_id: str) -> None:
        """Claim a job, which must wait."""
        answer = self.claim(job_id)
        assert not isinstance(answer, Claim)
        assert answer.reason == answer.WAITING

    def finish(self, claimed: Claim) -> None:
        """End a job as its worker would."""
        done = attempts.complete(self.plugin.db, claimed, None, 1)
        assert done
        after_completion(self.plugin, claimed, done)

    def crowd(self, claimers: int, number: int, queues: list[str], runs: Callable[[], object]) -> None:
        """Have so many claimers take messages and run their jobs, until so many jobs have been run."""
        left, faults = [number], []

        def work(queue: str) -> None:
            while left[0] > 0:
                try:
                    job_id = self.take(queue, timeout=1)
                    claimed = self._claim_in_time(job_id) if job_id else None
                    if claimed is not None:
                        runs()
                        self.finish(claimed)
                        with self._lock:
                            left[0] -= 1
                except Exception as error:
                    faults.append(error)
                    raise

        threads = [threading.Thread(target=work, args=(queues[n % len(queues)],), daemon=True) for n in range(claimers)]
        for thread in threads:
            thread.start()
        wait_until(lambda: left[0] <= 0 or faults, 60, lambda: f"{left[0]} jobs never ran")
        for thread in threads:
            thread.join(10)
        assert faults == []

    def _claim_in_time(self, job_id: str) -> Claim | None:
        from celery_jobs.claiming import claim_job

        return claim_job(self.plugin, job_id, new_id(), new_id(), LEASE)

    def later(self, seconds: float) -> None:
        """Let so many seconds pass."""
        shift(self.plugin.db, seconds)
        with self.plugin.db.transaction() as connection:
            rows = [row._mapping for row in connection.execute(select(starts)).all()]
            connection.execute(delete(starts))
            earlier = [{**row, "started_at": row["started_at"] - timedelta(seconds=seconds)} for row in rows]
            if earlier:
                connection.execute(insert(starts), earlier)


def overlap(rows: list[Any]) -> int:
    """How many of these jobs ran at once at most, by the database's times."""
    moments = [(row.started_at, 1) for row in rows] + [(row.finished_at, -1) for row in rows]
    running = most = 0
    for _, change in sorted(moments, key=lambda found: (found[0], found[1])):
        running += change
        most = max(most, running)
    return most


def busiest(rows: list[Any], seconds: float) -> int:
    """How many of these jobs started in the busiest window of so many seconds."""
    moments = sorted(row.started_at.timestamp() for row in rows)
    return max(len([moment for moment in moments if first <= moment < first + seconds]) for first in moments)


@pytest.fixture
def floor(broker_url: str, database_url: str) -> Iterator[Floor]:
    app = make_limited_app(broker_url, database_url)
    with ExitStack() as stack:
        client = stack.enter_context(Redis.from_url(broker_url))
        floor = Floor(app, client)
        yield floor
        assert invariants.check(floor.plugin.db) == []
        floor.plugin.db.dispose()
        app.close()


def rest(seconds: float = 0.004) -> None:
    """Take as long as a short job."""
    time.sleep(seconds)
