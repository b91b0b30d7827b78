from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import make_url, select, text

from celery_jobs.errors import SchemaOutdated, StoreUnavailable
from celery_jobs.store import db as db_module
from celery_jobs.store.db import Database, now
from celery_jobs.store.tables import jobs
from tests.processes import SOURCE
from tests.store.conftest import complete, count, race, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from tests.servers.postgres import Postgres

WRITERS, WRITES = 8, 15

PREPARED_AFTER = 5
"""Executions; from then on the driver prepares a statement."""

WRITER = """
import sys
from celery_jobs.store.db import Database
from tests.store.conftest import complete, store

db = Database(sys.argv[1])
for _ in range(int(sys.argv[2])):
    complete(db, store(db))
db.dispose()
"""

FORKS = """
import os, sys
from celery_jobs.store.db import Database

def connection_of(db):
    with db.reading() as connection:
        raw = connection.connection.dbapi_connection
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
        return id(raw), None if db.is_sqlite else raw.info.backend_pid

db = Database(sys.argv[1])
ours = connection_of(db)
read, write = os.pipe()
if os.fork() == 0:
    try:
        engine = db._engine
        if db.is_sqlite and os.path.isdir("/proc/self/fd"):
            files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
            assert not any(".sqlite3" in file for file in files), "the child inherits an open database"
        theirs = connection_of(db)
        assert db.engine is not engine, "the child uses its parent's engine"
        assert db.is_sqlite or theirs[1] != ours[1], "the child uses its parent's backend"
        db.dispose()
        os.write(write, b"well")
    finally:
        os._exit(0)
os.wait()
assert os.read(read, 10) == b"well"
again = connection_of(db)
assert db.is_sqlite or again == ours, "the parent's connection broke"
db.dispose()
"""


def _python(script: str, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SOURCE), str(SOURCE.parent)])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _url(db: Database) -> str:
    return db.url.render_as_string(hide_password=False)


@pytest.fixture
def fragile(fragile_url: str) -> Iterator[Database]:
    """A migrated database on a server that the test may stop."""
    database = Database(fragile_url)
    yield database
    database.dispose()


def test_the_databases_clock_is_the_clock(db: Database) -> None:
    before = datetime.now(UTC)
    moments: list[datetime] = []
    with db.reading() as connection:
        for shift in (0, 90.5, -90.5):
            shown = connection.execute(select(now(shift))).scalar_one()
            moment = datetime.fromisoformat(shown) if isinstance(shown, str) else shown
            moments.append(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    for moment, shift in zip(moments, (0, 90.5, -90.5), strict=True):
        assert abs(moment - before - timedelta(seconds=shift)) < timedelta(seconds=5)


def test_the_clock_goes_on_inside_a_transaction(db: Database) -> None:
    with db.transaction() as connection:
        first = connection.execute(select(now())).scalar_one()
        while (second := connection.execute(select(now())).scalar_one()) == first:
            continue
    assert second > first


def test_a_transaction_that_fails_leaves_nothing(db: Database) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("INSERT INTO queues (name) VALUES ('shop')"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.run(fail)
    with db.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM queues")).scalar() == 0


def test_a_read_is_consistent_and_blocks_no_writer(db: Database) -> None:
    query = select(jobs.c.id)
    with db.reading() as connection:
        assert connection.execute(query).all() == []
        store(db)
        assert connection.execute(query).all() == []
    assert count(db, jobs) == 1


def test_eight_threads_write_at_once(db: Database) -> None:
    def write() -> None:
        for _ in range(WRITES):
            complete(db, store(db))

    race(*[write] * WRITERS)
    assert count(db, jobs) == WRITERS * WRITES


def test_processes_write_at_once(db: Database) -> None:
    processes = [_python(WRITER, _url(db), str(WRITES)) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert said == [""] * 4
    assert count(db, jobs) == 4 * WRITES


def test_a_reader_that_goes_on_to_write_is_not_told_that_the_database_is_locked(db: Database) -> None:
    def read_then_write() -> None:
        with db.transaction() as connection:
            seen = connection.execute(text("SELECT count(*) FROM queues")).scalar_one()
            connection.execute(text("INSERT INTO queues (name) VALUES (:name)"), {"name": f"{seen}-{id(connection)}"})

    race(*[read_then_write] * WRITERS)


def test_threads_that_begin_at_once_share_one_engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    second = threading.Event()
    maker = f"{make_url(database_url).get_backend_name()}_engine"
    make = getattr(db_module, maker)

    def watched(*arguments: Any) -> Any:
        made.append(make(*arguments))
        if len(made) > 1:
            second.set()
        second.wait(0.3)  # room for another thread to come in; none must
        return made[-1]

    monkeypatch.setattr(db_module, maker, watched)
    database = Database(database_url)
    engines = race(*[lambda: database.engine] * 4)
    for engine in made:
        engine.dispose()
    assert len(made) == 1
    assert len(set(map(id, engines))) == 1


def test_a_fork_shares_no_connection(db: Database) -> None:
    process = _python(FORKS, _url(db))
    said = process.communicate(timeout=60)[0]
    assert (process.returncode, said) == (0, "")


def test_a_sqlite_file_is_made_to_last(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite3'}")
    with database.reading() as connection:
        shown = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
        timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    database.dispose()
    assert (shown, timeout) == ({"journal_mode": "wal", "synchronous": 2}, 30_000)


def test_missing_tables_are_an_outdated_schema(db: Database) -> None:
    with pytest.raises(SchemaOutdated, match="jobs migrate"), db.reading() as connection:
        connection.execute(text("SELECT * FROM later_tables"))
    with pytest.raises(SchemaOutdated, match="jobs migrate"), db.reading() as connection:
        connection.execute(text("SELECT later_column FROM jobs"))


@pytest.mark.parametrize("url", ["postgres://localhost/x", "postgresql://localhost/x"])
def test_a_plain_postgresql_url_means_psycopg(url: str) -> None:
    assert Database(url).url.drivername == "postgresql+psycopg"


def _unavailable_after(db: Database) -> float:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store(db)
    return time.monotonic() - started


@pytest.mark.parametrize("connected", [False, True])
def test_a_database_that_is_down_is_an_error_within_three_seconds(
    own_postgres: Postgres, fragile: Database, connected: bool
) -> None:
    if connected:
        store(fragile)
    else:
        fragile.dispose()
    own_postgres.stop()
    assert _unavailable_after(fragile) < 3


def test_a_database_that_accepts_and_says_nothing_is_an_error_within_three_seconds(
    own_postgres: Postgres, fragile: Database
) -> None:
    fragile.dispose()
    server = psutil.Process(own_postgres.process.pid)
    server.send_signal(signal.SIGSTOP)
    try:
        assert _unavailable_after(fragile) < 3
    finally:
        server.send_signal(signal.SIGCONT)


def test_an_error_of_the_database_shows_no_password(own_postgres: Postgres, fragile: Database) -> None:
    own_postgres.stop()
    url = fragile.url.set(password="secret-word")
    database = Database(url.render_as_string(hide_password=False))
    with pytest.raises(StoreUnavailable) as caught:
        store(database)
    assert "secret-word" not in str(caught.value)


def test_a_connection_that_broke_while_idle_is_replaced_unseen(own_postgres: Postgres, fragile: Database) -> None:
    store(fragile)
    own_postgres.restart()
    store(fragile)
    assert count(fragile, jobs) == 2


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("lost", ["ALTER TABLE jobs ALTER COLUMN max_attempts TYPE integer", "DISCARD ALL"])
def test_a_prepared_statement_that_is_no_more_is_made_again_unseen(db: Database, lost: str, alone: bool) -> None:
    """Of an old worker under a new schema, and behind a pooler that leads each transaction to any session."""
    if db.is_sqlite:
        pytest.skip("it keeps no plans")

    def store_and_ask(connection: Any) -> Any:
        return connection.execute(query).fetchone()

    query: Any = "SELECT id, max_attempts FROM jobs"
    query = query if alone else text(query)
    kept = store(db)
    for _ in range(PREPARED_AFTER + 2):
        db.run(store_and_ask, alone=alone)
    with db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.pgconn.exec_(lost.encode())  # the driver knows nothing of it
    assert str(db.run(store_and_ask, alone=alone)[0]) == kept


def test_an_interruption_leaves_no_connection_in_a_transaction(db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("each of its statements is in one")

    def interrupted(opened: AbstractContextManager[Connection]) -> None:
        with opened as connection:
            assert not connection.connection.driver_connection.autocommit  # type: ignore[union-attr]
            connection.execute(text("SELECT 1"))
            raise KeyboardInterrupt

    for opened in (db.transaction, db.reading):
        with pytest.raises(KeyboardInterrupt):
            interrupted(opened())
        with db.alone() as driver:
            assert driver.autocommit
            assert driver.info.transaction_status == TransactionStatus.IDLE


def test_a_connection_in_use_while_the_others_are_closed_is_closed_when_it_comes_back(db: Database) -> None:
    with db.transaction() as connection:
        used: Any = connection.connection.dbapi_connection
        db.dispose()
        connection.execute(text("SELECT 1"))
    assert db.is_sqlite or used.closed
    with db.alone() as first:
        pass
    with db.alone() as second:
        assert db.is_sqlite or second is first


def test_an_outcome_waits_for_the_database(
    own_postgres: Postgres, fragile: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            own_postgres.start()

    store(fragile)
    own_postgres.stop()
    monkeypatch.setattr(db_module, "time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    assert fragile.persist(lambda connection: connection.execute(text("SELECT 7")).scalar()) == 7
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_an_error_of_the_transition_itself_is_not_repeated(db: Database) -> None:
    calls: list[int] = []

    def fail(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("INSERT INTO queues (name) VALUES (NULL)"))

    for run in (db.run, db.persist):
        with pytest.raises(Exception, match=r"(?i)null"):
            run(fail)
    assert len(calls) == 2


def test_columns_can_be_compared_while_another_thread_imports() -> None:
    """SQLAlchemy's ORM, half imported, breaks every comparison with a StrEnum: it must be there before the tables."""
    code = (
        "import threading\n"
        "from celery_jobs.states import Status\n"
        "from celery_jobs.store.tables import jobs\n"
        "thread = threading.Thread(target=__import__, args=('celery_jobs.jobs',))\n"
        "thread.start()\n"
        "while thread.is_alive():\n"
        "    jobs.c.status == Status.PROCESSING\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
