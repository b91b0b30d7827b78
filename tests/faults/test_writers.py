"""Eight processes write into one SQLite file at once: nobody hears that it is locked, and every job is there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from celery_jobs.store import invariants
from celery_jobs.store.db import Database
from celery_jobs.store.tables import jobs
from tests.processes import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

WRITERS, CYCLES = 8, 100
COPIES = 10

FORKS = """
import os, sys, traceback
from celery_jobs.plugin import plugin_of
from celery_jobs.store.db import Database
from celery_jobs.store.migrations import require
from tests.apps import make_app
from tests.store.conftest import complete, store

def at_once(writers, write):
    wait, go = os.pipe()
    for _ in range(writers):
        if os.fork() == 0:
            os.close(go)
            os.read(wait, 1)
            try:
                write()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
    os.close(go)
    os.close(wait)
    for _ in range(writers):
        os.wait()
"""

WRITE = """
broker_url, database_url, writers, cycles = *sys.argv[1:3], *map(int, sys.argv[3:])
app = make_app(broker_url, database_url)

def write():
    for number in range(cycles):
        complete(plugin_of(app).db, app.send_task("work", (number,)).job_id)

at_once(writers, write)
"""

OPEN = """
writers, urls = int(sys.argv[1]), sys.argv[2:]
for db in map(Database, urls):
    def write():
        require(db)
        complete(db, store(db))
    at_once(writers, write)
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A SQLite file that does not exist yet; in memory where that is possible, or a disk is all that is waited for."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder) / "jobs.sqlite3"


@pytest.mark.matrix
def test_eight_processes_write_at_once_and_nobody_hears_that_the_file_is_locked(broker_url: str, file: Path) -> None:
    """From the first moment: the file is not there yet when all eight begin, and each would make its tables."""
    assert run(WRITE, broker_url, url(file), WRITERS, CYCLES) == ""
    assert ends(file) == {"success": WRITERS * CYCLES}


@pytest.mark.matrix
def test_eight_processes_that_open_a_file_without_a_log_at_once_do_not_hear_it_either(
    file: Path, sqlite_template: Path
) -> None:
    """As SQLite makes a copy, and as any file begins: each of the eight would turn its log on."""
    copies = [file.with_name(f"copy-{number}.sqlite3") for number in range(COPIES)]
    with closing(sqlite3.connect(sqlite_template)) as connection:
        for copy in copies:
            connection.execute("VACUUM INTO ?", (str(copy),))
    assert run(OPEN, WRITERS, *map(url, copies)) == ""
    assert [ends(copy) for copy in copies] == [{"success": WRITERS}] * COPIES


def url(file: Path) -> str:
    return f"sqlite:///{file}"


def run(script: str, *arguments: object) -> str:
    """Run a script of eight writers, and give what they say."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS + script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    return done.stdout


def ends(file: Path) -> Counter[str]:
    """The verdicts of all jobs, with the invariants held."""
    db = Database(url(file))
    with db.reading() as connection:
        found = Counter(row.final_status for row in connection.execute(jobs.select()))
    assert invariants.check(db) == []
    db.dispose()
    return found
