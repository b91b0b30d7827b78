"""One part of a suite in a pytest process of its own, on bare Celery or with jobs: its servers, rows and outcomes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
from sqlalchemy import func, select

from celery_jobs.demo.valkey import start_valkey, tied_to_parent
from celery_jobs.store import invariants, migrations
from celery_jobs.store.db import Database
from celery_jobs.store.tables import jobs
from tests.celery_suites import installed, recorder
from tests.celery_suites.judging import Outcome, merged
from tests.servers.postgres import start_postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.celery_suites.suites import Part
    from tests.servers.postgres import Postgres

__all__ = ["SIDES", "Bench", "Ran", "Side"]

Side = Literal["bare", "jobs"]
SIDES: tuple[Side, Side] = ("jobs", "bare")

HERE = Path(__file__).resolve().parents[2]
TEST_SECONDS, PART_SECONDS = 300, 1200
"""Seconds after which a test, and a whole part, are given up."""

PLUGINS = ("no:celery_jobs", "no:cacheprovider", "no:rerunfailures", "no:xdist", recorder.__name__)
"""Celery's suites run a failing test up to five times again, which would hide what fails now and then with us alone."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a part on one side."""

    outcomes: dict[str, Outcome]
    texts: dict[str, str]
    """What pytest says of each failure."""
    seconds: float
    rows: int = 0
    faults: list[str] = field(default_factory=list)
    """What is wrong beside its tests."""


class Bench:
    """Runs parts, each in a folder of its own; one PostgreSQL server has all their databases."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.source = source
        self._running: set[subprocess.Popen[bytes]] = set()
        self.postgres: Postgres = start_postgres(folder / "postgres")
        self.template = folder / "template.sqlite3"
        for url in (self.postgres.create_database("template"), f"sqlite:///{self.template}"):
            migrations.upgrade(url)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for process in tuple(self._running):
            _kill(process)
        self.postgres.remove()

    def run(self, part: Part, side: Side) -> Ran:
        """Run a part."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{part.name}-{side}-"))
        started = time.monotonic()
        with ExitStack() as servers:
            env = {recorder.FILE: str(folder / "outcomes"), recorder.PART: f"{part.number}/{part.of}"}
            if part.suite.has_worker:
                env[recorder.WORKER] = "1"
                env |= _broker(servers.enter_context(start_valkey(folder / "valkey")).port)
            url = self._database(part, folder) if side == "jobs" else None
            if url is not None:
                env[installed.SETTINGS] = json.dumps({**part.suite.settings, "jobs_database_url": url})
            faults = self._pytest(folder, url is not None, env, part.tests or [part.suite.path])
        outcomes, texts = _read(folder / "outcomes")
        rows = 0
        if url is not None:
            rows, broken = _look_at(url, part.suite.has_worker)
            faults += broken
        return Ran(outcomes, texts, time.monotonic() - started, rows, faults)

    def _database(self, part: Part, folder: Path) -> str:
        """As production has it where a worker runs; the unit tests allow no thread of a driver's or a watch's."""
        if part.suite.has_worker:
            return self.postgres.create_database(folder.name, "template")
        file = folder / "jobs.sqlite3"
        shutil.copyfile(self.template, file)
        return f"sqlite:///{file}"

    def _pytest(self, folder: Path, with_jobs: bool, env: dict[str, str], tests: Sequence[str]) -> list[str]:
        plugins = [*PLUGINS, *([installed.__name__] if with_jobs else [])]
        options = ["-q", "--disable-warnings", "--tb=short", f"--timeout={TEST_SECONDS}"]
        command = [sys.executable, "-m", "pytest", *(f"-p{name}" for name in plugins), *options, *tests]
        log = folder / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                tied_to_parent(command), cwd=self.source, env=_environment(env), stdout=output, stderr=output
            )
        self._running.add(process)
        try:
            code = process.wait(PART_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
            return [f"{folder.name} took longer than {PART_SECONDS} s and was ended"]
        finally:
            self._running.discard(process)
        last = log.read_text(errors="replace")[-2000:]
        return [] if code in (0, 1) else [f"{folder.name} ended with {code}:\n{last}"]


def _broker(port: int) -> dict[str, str]:
    url = f"redis://127.0.0.1:{port}/0"
    return {"TEST_BROKER": url, "TEST_BACKEND": url, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}


def _environment(more: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CELERY_"))}
    return {**env, **more, "PYTHONPATH": path, "WORKER_LOGLEVEL": "INFO"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()
    process.wait()


def _read(file: Path) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Outcomes and failures, each of a test's notes considered."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    notes: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("\n")]
    texts: dict[str, str] = {}
    for note in notes:
        if "text" in note:  # a failed subtest says why, its test only that it has one
            texts[note["test"]] = texts.get(note["test"], "") + note["text"] + "\n"
    return merged((note["test"], note["outcome"]) for note in notes), texts


def _look_at(url: str, whole: bool) -> tuple[int, list[str]]:
    """How many rows there are, and where they were made whole by a worker, which of them break an invariant."""
    db = Database(url, timeout=30)
    try:
        with db.reading() as connection:
            rows = connection.execute(select(func.count()).select_from(jobs)).scalar_one()
        return rows, [str(violation) for violation in invariants.check(db)] if whole else []
    finally:
        db.dispose()
