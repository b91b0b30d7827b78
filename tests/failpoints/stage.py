"""Where a case is played: its database and broker, what has come of its jobs, and what others do in the meantime."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis import Redis
from sqlalchemy import func, select

from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.states import LIVE
from celery_jobs.store import invariants, reads, workers
from celery_jobs.store import tables as t
from tests.callbacks.receiver import Receiver
from tests.failpoints.shop import NEVER, Place, make_shop, runs_noted
from tests.processes import wait_until
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job
    from tests.failpoints.stories import Act

BYSTANDER = "bystander"

TOLD = {"success": "SUCCESS", "dead_lettered": "FAILURE", "cancelled": "REVOKED"}
"""What Celery's caller is told of a verdict."""


class Stage:
    """One case's place, seen from the test's own process, where nothing is armed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.app: Celery = make_shop(place)
        self.plugin = plugin_of(self.app)
        self.broker: Redis = Redis.from_url(place.broker_url)
        self.receiver = Receiver()
        self.receiver.__enter__()

    @property
    def db(self) -> Database:
        return self.plugin.db

    def close(self) -> None:
        self.receiver.__exit__()
        self.db.dispose()
        self.broker.close()
        self.app.backend.client.close()
        self.app.close()

    def file(self, name: str) -> str:
        return str(self.place.folder / name)

    def enqueue(self, name: str, *ways: str, **options: Any) -> str:
        """Enqueue a job that notes its runs under a name; gives its id."""
        return str(self.app.tasks["work"].apply_async((self.file(name), *ways), **options).job_id)

    def do(self, act: Callable[[Stage], Act]) -> object:
        return act(self)(self.app)

    def lose_messages(self) -> None:
        """The broker loses what it holds."""
        self.broker.delete(*self._queues)

    @property
    def _queues(self) -> list[str]:
        return ["celery", *(f"celery\x06\x16{level}" for level in (3, 6, 9))]

    def chains(self) -> list[list[Job]]:
        """Every chain but the bystander's, the oldest first."""
        query = select(t.jobs.c.id).where(t.jobs.c.attempt_number == 1).order_by(t.jobs.c.id)
        with self.db.reading() as connection:
            ids = [row.id for row in connection.execute(query)]
        found = [reads.attempts(self.db, id) for id in ids]
        return [chain for chain in found if chain[0].tags != [BYSTANDER]]

    def first_id(self) -> str:
        return self.chains()[0][0].id

    def messages(self) -> int:
        """How many messages are stored."""
        with self.db.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(t.messages)).scalar_one())

    def bystand(self) -> None:
        """Somebody else enqueues, and is not kept waiting."""
        started = time.monotonic()
        self.enqueue(BYSTANDER, "return", tags=[BYSTANDER])
        assert time.monotonic() - started < 3

    def pass_time(self, living: int) -> None:
        """An hour passes, of all workers only the process `living` goes on; every service has its turn."""
        wait_until(lambda: self._worker(living), message="the worker did not register")
        shift(self.db, NEVER)
        worker = self._worker(living)
        assert worker is not None
        assert workers.heartbeat(self.db, worker.id, worker.queues)
        for service in ("reaper", "redispatcher", "promoter"):
            make_service(self.plugin, service).run_once()

    def _worker(self, pid: int) -> Any:
        with self.db.reading() as connection:
            return connection.execute(select(t.workers).where(t.workers.c.pid == pid)).first()

    def drained(self, chains: int) -> bool:
        """Whether so many chains are there, all ended, and the broker holds nothing for anybody.

        A worker may hold a message of which there is no row yet.
        """
        with self.db.reading() as connection:
            live = connection.execute(select(t.jobs.c.id).where(t.jobs.c.status.in_(LIVE))).first()
        return live is None and self.waiting() == 0 and len(self.chains()) >= chains

    def waiting(self) -> int:
        """How many messages lie in the broker."""
        return sum(int(self.broker.llen(name)) for name in self._queues)

    def picture(self) -> str:
        rows = [
            (job.id, job.attempt_number, job.status, job.final_status, job.sent_at, job.losses)
            for chain in self.chains()
            for job in chain
        ]
        return "\n".join(["not everything ended:", *map(str, rows)])

    def verify(self, ends: tuple[str, ...], names: tuple[str, ...], runs: range) -> None:
        """Every chain has its one verdict, which Celery knows, every run is accounted for, the rules hold."""
        assert invariants.check(self.db) == []
        found = self.chains()
        assert tuple(chain[0].final_status for chain in found) == ends, self.picture()
        for chain in found:
            assert chain[0].ended_at is not None
            assert self.app.AsyncResult(chain[0].task_id).state == TOLD[str(chain[0].final_status)]
        assert reads.untold(self.db, 10) == []
        noted = {name: runs_noted(self.place.folder / name) for name in names}
        assert all(count in runs for count in noted.values()), noted
        assert runs_noted(self.place.folder / BYSTANDER) == 1
