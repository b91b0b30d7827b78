"""Where workers and callers of tests/faults/filing.py live."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants, reads
from celery_jobs.store.db import Database
from tests.apps import make_app
from tests.faults.filing import SETTINGS
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_jobs.store.rows import Job

__all__ = ["Office", "a_job_that_ends_meanwhile", "let_it_end"]

WAITS = "waiting for the jobs database"
"""What a worker says that does."""


class Office:
    """One broker, one database, and what works on them with these settings; a context that ends all processes."""

    def __init__(self, broker_url: str, database_url: str, folder: Path, **settings: Any) -> None:
        self.broker_url = broker_url
        self.database_url = database_url
        self.folder = folder
        self.settings = settings
        self.app = make_app(broker_url, database_url, **settings)
        self.db = Database(database_url)
        self.workers: list[Worker] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        self.db.dispose()
        plugin_of(self.app).unchecked_db.dispose()
        self.app.close()

    def worker(self, concurrency: int = 2, ready: bool = True) -> Worker:
        """Start a worker; `ready`: wait until it says that it is."""
        folder = self.folder / f"worker-{len(self.workers)}"
        folder.mkdir()
        worker = Worker(
            "tests.faults.filing:app",
            folder,
            broker_url=self.broker_url,
            database_url=self.database_url,
            concurrency=concurrency,
            env={"PYTHONPATH": f"{SOURCE}{os.pathsep}{SOURCE.parent}", SETTINGS: json.dumps(self.settings)},
        )
        self.workers.append(self._stack.enter_context(worker))
        return worker.wait_ready(30) if ready else worker

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """Enqueue a task of the filing; gives the job's id."""
        result = self.app.send_task(f"tests.faults.filing.{name}", args, **options)
        return str(result.job_id)

    def attempts(self, job_id: str) -> list[Job]:
        """The rows of a job's chain."""
        return reads.attempts(self.db, job_id)

    def ended(self, job_id: str, worker: Worker, timeout: float = 15) -> list[Job]:
        """The rows of a job's chain when it has ended."""
        return wait_until(
            lambda: (rows := self.attempts(job_id))[0].ended_at is not None and rows,
            timeout,
            lambda: f"the chain stays at {[(row.status, row.losses) for row in self.attempts(job_id)]}",
            worker,
        )

    def assert_sound(self) -> None:
        """Whatever has happened, the invariants hold."""
        assert invariants.check(self.db) == []


@contextmanager
def a_job_that_ends_meanwhile(office: Office, folder: Path, size: int = 0) -> Iterator[None]:
    """A worker has taken a job; its body ends inside, its outcome is written afterwards, and it has run once."""
    gate, started = folder / "gate", folder / "started"
    worker = office.worker(concurrency=1)
    running = office.send("wait_for_file", str(gate), str(started), size)
    wait_until(started.exists, process=worker)
    next_one = office.send("note", "next", str(folder / "notes"))
    yield
    for job_id in (running, next_one):
        (row,) = office.ended(job_id, worker, 60)
        assert (row.final_status, row.losses, worker.process.poll()) == ("success", 0, None)
    assert len(started.read_text().split()) == 1
    assert WAITS in worker.log
    office.assert_sound()


def let_it_end(office: Office, folder: Path) -> None:
    """Let the job's body end, and wait until its outcome could not be written."""
    (folder / "gate").touch()
    worker = office.workers[0]
    wait_until(lambda: WAITS in worker.log, process=worker)
    assert not (folder / "notes").exists()
