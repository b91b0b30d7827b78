"""Where workers, beats and callers of tests/faults/clockwork.py live, each with settings and a clock of its own."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import select

from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads
from celery_jobs.store.db import Database, seconds_until
from celery_jobs.store.tables import jobs, services
from tests.apps import make_app
from tests.faults.clockwork import CLOCK, SETTINGS
from tests.processes import SOURCE, Beat, CeleryProcess, Worker, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from celery_jobs.store.rows import Job

__all__ = ["Yard"]

P = TypeVar("P", Worker, Beat)

QUICK = {
    "jobs_queue_defaults": {"retry_delays": [1]},
    "jobs_heartbeat_interval": 0.3,
    "jobs_worker_timeout": 1.5,
    "jobs_reap_interval": 0.5,
}


class Yard:
    """One broker, one database, and what works on them; a context that ends all processes."""

    def __init__(self, broker_url: str, database_url: str, folder: Path, **settings: Any) -> None:
        self._stack = ExitStack()
        self.broker_url = broker_url
        self.database_url = database_url
        self.folder = folder
        self.results = settings.pop("result_backend", "rpc://" if broker_url.startswith("amqp") else broker_url)
        self.settings = QUICK | settings
        self.app = self.caller(broker_url)
        self.db = Database(database_url)
        self.notes = folder / "notes"
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        self.db.dispose()

    def caller(self, broker_url: str, **settings: Any) -> Celery:
        """An app of this process, which reaches the broker as it is told."""
        conf: dict[str, Any] = self.settings | {"result_backend": self.results} | settings
        app = make_app(broker_url, self.database_url, **conf)
        self._stack.callback(app.close)
        self._stack.callback(plugin_of(app).unchecked_db.dispose)
        return app

    def worker(self, *arguments: str, clock: float = 0, **settings: Any) -> Worker:
        """Start a worker whose clock is `clock` seconds ahead."""
        return self._start(Worker, arguments, clock, settings)

    def beat(self, *arguments: str, clock: float = 0, **settings: Any) -> Beat:
        """Start a beat whose clock is `clock` seconds ahead."""
        return self._start(Beat, arguments, clock, settings)

    def _start(self, kind: type[P], arguments: tuple[str, ...], clock: float, settings: dict[str, Any]) -> P:
        self._started += 1
        folder = self.folder / f"process-{self._started}"
        folder.mkdir()
        environment = {
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
            SETTINGS: json.dumps(self.settings | settings),
            CLOCK: str(clock),
        }
        urls: dict[str, Any] = {
            "broker_url": self.broker_url,
            "database_url": self.database_url,
            "result_backend": self.results,
        }
        process = kind("tests.faults.clockwork:app", folder, *arguments, **urls, env=environment)
        return self._stack.enter_context(process).wait_ready(30)

    def send(self, name: str, *args: str, caller: Celery | None = None, **options: Any) -> str:
        """Enqueue a task of the clockwork; gives the job's id."""
        result = (caller or self.app).send_task(f"tests.faults.clockwork.{name}", args, **options)
        return str(result.job_id)

    def attempts(self, job_id: str) -> list[Job]:
        """The rows of a job's chain."""
        return reads.attempts(self.db, job_id)

    def ended(self, job_id: str, process: CeleryProcess | None = None, timeout: float = 15) -> list[Job]:
        """The rows of a job's chain when it has ended."""
        return wait_until(
            lambda: (rows := self.attempts(job_id))[0].ended_at is not None and rows, timeout, process=process
        )

    def running_for(self, job_id: str) -> float:
        """Seconds since a job started, by the database's clock."""
        query = select(seconds_until(jobs.c.started_at)).where(jobs.c.id == job_id)
        with self.db.reading() as connection:
            return -float(connection.execute(query).scalar_one())

    def noted(self) -> list[str]:
        """What the bodies have noted at their starts."""
        return self.notes.read_text().split() if self.notes.exists() else []

    def await_turn(self, service: str) -> None:
        """Wait until a turn of a service has begun and ended since."""
        for _ in range(2):
            last = self._turn(service)
            wait_until(lambda: self._turn(service) != last, message=f"no turn of the {service}")  # noqa: B023

    def _turn(self, service: str) -> Any:
        with self.db.reading() as connection:
            return connection.execute(select(services.c.ran_at).where(services.c.name == service)).scalar()
