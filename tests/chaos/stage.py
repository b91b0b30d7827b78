"""Everything that a run consists of: servers, proxy, workers, beat and producers; none of it outlives the context."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from celery_jobs.demo.valkey import HOST, start_valkey, tied_to_parent
from celery_jobs.store import migrations
from celery_jobs.store.db import Database
from tests.chaos import terms
from tests.chaos.history import Log, read_log
from tests.chaos.proxy import Proxy
from tests.chaos.tables import keep_changes
from tests.processes import SOURCE, Beat, CeleryProcess, Worker, wait_until
from tests.servers.postgres import Postgres, start_postgres

if TYPE_CHECKING:
    from celery_jobs.demo.valkey import Valkey
    from tests.chaos.plan import Plan

__all__ = ["Stage"]

APP = "tests.chaos.shop:app"
ROOT = Path(__file__).resolve().parents[2]
SLOTS, CHILDREN, PRODUCERS = 2, 2, 2


@dataclass(slots=True)
class Producing:
    """A producer's process, and what it was asked to do."""

    process: subprocess.Popen[bytes]
    first: int
    until: float


class Stage:
    """A run's processes. All are started by the thread that enters the context: they end with it."""

    valkey: Valkey
    results: Valkey
    proxy: Proxy
    postgres: Postgres | None = None
    db: Database | None = None
    beat: Beat | None = None

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.log_file, self.sent_file = folder / "history.jsonl", folder / "sent.jsonl"
        self.log = Log(self.log_file)
        self.workers: dict[int, Worker] = {}
        self.producers: list[Producing] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.callback(self.log.close)
            self.valkey = self._stack.enter_context(start_valkey(self.folder / "valkey", persist=True))
            # Apart from the broker: what becomes of a result that cannot be stored is Celery's.
            self.results = self._stack.enter_context(start_valkey(self.folder / "results", persist=True))
            self.proxy = self._stack.enter_context(Proxy(self.valkey.port))
            if self.plan.bare is None:
                self._open_database()
            self._stack.callback(self._end_processes)
            for slot in range(SLOTS):
                self.workers[slot] = self.new_worker(slot)
            for worker in self.workers.values():
                worker.wait_ready(60)
            if self.plan.bare is None:
                self.beat = self.new_beat()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open_database(self) -> None:
        self.postgres = self._stack.enter_context(start_postgres(self.folder / "postgres", durable=True))
        url = self.postgres.create_database("chaos")
        migrations.upgrade(url)
        self.db = Database(url)
        self._stack.callback(self.db.dispose)
        keep_changes(self.db)

    def _end_processes(self) -> None:
        for producing in self.producers:
            end(producing.process)
        for process in (*self.workers.values(), self.beat):
            if process is not None:
                process.kill()

    @property
    def _environment(self) -> dict[str, str]:
        return {
            terms.LOG: str(self.log_file),
            terms.SENT: str(self.sent_file),
            terms.BROKEN: self.plan.broken or "",
            terms.BARE: self.plan.bare or "",
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(ROOT)]),
        }

    @property
    def _database_url(self) -> str | None:
        return None if self.db is None else self.db.url.render_as_string(hide_password=False)

    def new_worker(self, slot: int) -> Worker:
        """Start a worker behind the proxy; it takes a queue of its slot's besides."""
        return Worker(
            APP,
            self.folder,
            broker_url=f"redis://{HOST}:{self.proxy.port}/0",
            database_url=self._database_url,
            result_backend=self.results.url,
            concurrency=CHILDREN,
            queues=("celery", f"probe-{slot}"),
            env={**self._environment, terms.SLOT: str(slot)},
        )

    def supervise(self) -> None:
        """Put a new worker in the place of one that ended by itself, as whoever runs workers does."""
        for slot, worker in self.workers.items():
            if worker.process.poll() is not None:
                self.log.write("fault", "on", fault="a worker ended by itself", pids=[worker.pid])
                worker.kill()
                self.workers[slot] = self.new_worker(slot).wait_ready(60)

    def new_beat(self) -> Beat:
        """Start a beat."""
        return Beat(
            APP,
            self.folder,
            broker_url=self.valkey.url,
            database_url=self._database_url,
            result_backend=self.results.url,
            env=self._environment,
        )

    def start_producers(self) -> None:
        """Start producers that share the plan's jobs between them."""
        until = time.monotonic() + self.plan.seconds
        for first in range(PRODUCERS):
            self.producers.append(self._new_producer(first, first, until))

    def replace_producer(self, index: int) -> None:
        """Start a producer that goes on behind the last number of one that has ended."""
        old = self.producers[index]
        mine = [event["number"] for event in read_log(self.log_file) if event.kind == "enqueue"]
        last = max((number for number in mine if number % PRODUCERS == old.first), default=old.first - PRODUCERS)
        self.producers[index] = self._new_producer(old.first, last + PRODUCERS, old.until)

    def _new_producer(self, first: int, next_number: int, until: float) -> Producing:
        count = len(range(next_number, self.plan.jobs, PRODUCERS))
        seconds = max(0.0, until - time.monotonic())
        arguments = {"first": next_number, "step": PRODUCERS, "count": count, "seconds": seconds}
        process = self._producer(**arguments, seed=self.plan.seed, kinds=json.dumps(dict(self.plan.kinds)))
        return Producing(process, first, until)

    def await_producers(self) -> None:
        """Wait for the last enqueue."""
        for producing in self.producers:
            wait_until(lambda: producing.process.poll() is not None, 60, "a producer does not end")  # noqa: B023

    def probe(self) -> None:
        """Enqueue one job for each worker that is up, to its own queue."""
        self.log.write("healed", "mark", slots=[str(slot) for slot in self.workers])
        process = self._producer("--probe", *map(str, self.workers))
        try:
            process.wait(30)
        finally:
            end(process)

    def _producer(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        urls = {"CELERY_BROKER_URL": self.valkey.url, "CELERY_RESULT_BACKEND": self.results.url}
        if self._database_url is not None:
            urls["JOBS_DATABASE_URL"] = self._database_url
        given = [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "producers.log").open("ab") as log:
            return subprocess.Popen(
                tied_to_parent([sys.executable, "-m", "tests.chaos.producer", *given, *arguments]),
                cwd=self.folder,
                env={**os.environ, **urls, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def end(process: subprocess.Popen[bytes] | CeleryProcess) -> None:
    """Kill a process, whatever it is doing."""
    if isinstance(process, CeleryProcess):
        process.kill()
        return
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()
