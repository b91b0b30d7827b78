"""The hot path's statements, run by libpq: what goes in comes out, and what goes wrong is said, as by SQLAlchemy."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    bindparam,
    cast,
    false,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from celery_jobs.errors import SchemaOutdated, StoreUnavailable
from celery_jobs.store import attempts, workers
from celery_jobs.store.db import Database
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.rows import Claim
from celery_jobs.store.tables import Id, Json, Timestamp, jobs, messages, queues
from tests.pools.conftest import GREEN, importing
from tests.processes import SOURCE, wait_until
from tests.servers.round_trips import round_trips
from tests.store.conftest import LEASE, complete, new_message, race, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.types import TypeEngine

    from tests.servers.databases import Databases
    from tests.servers.postgres import Postgres

THREADS = 8

EVERY_BYTE = bytes(range(256))

TEXT = "Gebühr €5 \N{PARTY POPPER} 'single' \"double\" \\back\\slash %s %(name)s $1 :name {} \r\n\t\x01 ''"

DOCUMENT = {"quote'\"": ["\\", "\\u0041", "100 %", "%(x)s", "Gebühr \N{PARTY POPPER}", None, 1.5, {"$1": ":a"}]}

VALUES: list[tuple[Any, Any]] = [
    (Text, TEXT),
    (Text, ""),
    (Text, "x" * 900_000),
    (LargeBinary, EVERY_BYTE),
    (LargeBinary, b""),
    (LargeBinary, EVERY_BYTE * 3600),
    (LargeBinary, b"\\x41\\000'"),
    (Json, DOCUMENT),
    (Json, []),
    (Json, "only text: '\"\\"),
    (SmallInteger, -(2**15)),
    (Integer, 2**31 - 1),
    (BigInteger, 2**63 - 1),
    (BigInteger, -(2**63)),
    (Float, 0.1 + 0.2),
    (Float, 1e-300),
    (Float, math.inf),
    (Float, 5),
    (Boolean, True),
    (Boolean, False),
    (Timestamp, datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)),
    (Timestamp, datetime(1969, 12, 31, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-9, minutes=-30)))),
    (Id, str(uuid.UUID(int=2**128 - 2))),
    *((type_, None) for type_ in (Text, LargeBinary, Json, BigInteger, Float, Boolean, Timestamp, Id)),
]


def echo(type_: Any) -> Prepared:
    """A statement that gives the value it is given."""
    return Prepared(lambda is_sqlite: select(cast(bindparam("value", type_=type_), type_).label("value")))


def run(db: Database, statement: Prepared, values: dict[str, Any] | None = None, alone: bool = True) -> Any:
    """Run it by libpq, or not `alone`: as part of a transaction, by SQLAlchemy."""
    return db.run(lambda connection: statement.first(connection, values or {}), alone=alone)


def prepared(db: Database) -> list[str]:
    """What the server keeps for the connection that is used next."""
    with db.alone() as driver:
        rows = driver.execute("SELECT name FROM pg_prepared_statements ORDER BY name").fetchall()
    return [name for (name,) in rows]


def session(db: Database) -> int:
    """The number of the server's process for the connection that is used next."""
    with db.alone() as driver:
        return int(driver.info.backend_pid)


@pytest.fixture(scope="module")
def server(postgres: Databases, postgresql_template: str) -> Iterator[Database]:
    """A migrated database for all tests here."""
    name = f"jobs_libpq_{uuid.uuid4().hex[:16]}"
    database = Database(postgres.create_database(name, postgresql_template), timeout=20)
    yield database
    database.dispose()
    postgres.drop_database(name)


@pytest.fixture
def db(server: Database) -> Iterator[Database]:
    """It, with a connection of the test's own."""
    server.dispose()
    yield server
    server.dispose()


@contextmanager
def locked(db: Database) -> Iterator[Callable[[], list[int]]]:
    """Hold what `WAITS` waits for; gives what finds the sessions that wait."""
    with db.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7)")
        waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        yield lambda: list(connection.exec_driver_sql(waiting).scalars())


WAITS = Prepared(
    lambda is_sqlite: select(cast(func.pg_advisory_xact_lock(7), Text).label("held"), func.pg_backend_pid().label("by"))
)


@pytest.mark.parametrize(("type_", "value"), VALUES, ids=lambda value: repr(value)[:24])
def test_a_value_is_the_same_by_either_way(db: Database, type_: TypeEngine[Any], value: Any) -> None:
    statement = echo(type_)
    there = run(db, statement, {"value": value}, alone=False)
    assert run(db, statement, {"value": value}) == there == {"value": value}
    assert type(run(db, statement, {"value": value})["value"]) is type(there["value"])


def test_no_number_is_not_one(db: Database) -> None:
    assert math.isnan(run(db, echo(Float), {"value": math.nan})["value"])


def test_a_job_with_all_of_it_is_stored_and_claimed(db: Database) -> None:
    body = EVERY_BYTE * 3600
    message = new_message(body=body, headers=json.dumps(DOCUMENT, ensure_ascii=False), routing_key=TEXT)
    job_id = store(db, queue=TEXT, tags=DOCUMENT, message=message)
    claimed = attempts.claim(db, job_id, str(uuid.uuid4()), str(uuid.uuid4()), LEASE)
    assert isinstance(claimed, Claim)
    assert attempts.complete(db, claimed, json.dumps(TEXT, ensure_ascii=False), 2**62)
    with db.reading() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
        sent = connection.execute(select(messages).where(messages.c.id == row.message_id)).one()
    assert (row.queue, row.tags, json.loads(row.result), row.duration_ms) == (TEXT, DOCUMENT, TEXT, 2**62)
    assert (sent.body, json.loads(sent.headers), sent.routing_key) == (body, DOCUMENT, TEXT)


def test_no_row_is_none(db: Database) -> None:
    nothing = Prepared(lambda is_sqlite: select(literal_column("1").label("one")).where(false()))
    assert run(db, nothing) is None
    assert run(db, nothing) is None


def test_of_several_rows_it_is_the_first(db: Database) -> None:
    several = Prepared(lambda is_sqlite: select(func.generate_series(4, 9, type_=Integer).label("number")))
    assert run(db, several) == run(db, several, alone=False) == {"number": 4}


WRONG: dict[str, tuple[Prepared, dict[str, Any]]] = {
    "a NUL in text": (echo(Text), {"value": "a\x00b"}),
    "half a character": (echo(Text), {"value": "\ud83d"}),
    "a number too large": (echo(Integer), {"value": 2**40}),
    "a number too large for any": (echo(BigInteger), {"value": 2**70}),
    "no id": (echo(Id), {"value": "not an id"}),
    "a division by zero": (Prepared(lambda is_sqlite: select((1 / literal_column("0")).label("value"))), {}),
    "nothing where there must be something": (
        Prepared(lambda is_sqlite: insert(queues).values(name=None).returning(queues.c.name)),
        {},
    ),
    "no such function": (Prepared(lambda is_sqlite: select(func.no_such_function().label("value"))), {}),
    "no such table": (Prepared(lambda is_sqlite: select(literal_column("1 FROM later_table").label("value"))), {}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_the_same_error_by_either_way_and_not_tried_again(db: Database, wrong: str) -> None:
    statement, values = WRONG[wrong]
    raised: list[type[BaseException]] = []
    tries = 0

    def attempt(connection: Any) -> Any:
        nonlocal tries
        tries += 1
        return statement.first(connection, values)

    before = session(db)
    for alone in (False, True, True):
        with pytest.raises(Exception, match=r".") as caught:
            db.run(attempt, alone=alone)
        raised.append(caught.type)
    assert len(set(raised)) == 1
    assert raised[0] is not StoreUnavailable
    assert (raised[0] is SchemaOutdated) == (wrong == "no such table")
    assert tries == 3
    assert session(db) == before
    assert run(db, echo(Text), {"value": "well"}) == {"value": "well"}


def test_what_the_server_says_is_in_the_error(db: Database) -> None:
    with pytest.raises(Exception, match="no_such_function") as caught:
        run(db, WRONG["no such function"][0])
    assert caught.value.orig.diag.sqlstate == "42883"  # type: ignore[attr-defined]


def test_a_lock_that_others_hold_is_waited_for_no_longer_than_said(db: Database) -> None:
    impatient = Database(db.url.render_as_string(hide_password=False), timeout=0.2)
    store(db, queue="locked")
    change = Prepared(
        lambda is_sqlite: update(jobs).where(jobs.c.queue == "locked").values(task="x").returning(jobs.c.id)
    )
    with db.transaction() as connection:
        connection.execute(select(jobs).where(jobs.c.queue == "locked").with_for_update())
        with pytest.raises(StoreUnavailable, match="is locked by another transaction"):
            run(impatient, change)
    assert run(impatient, change) is not None
    impatient.dispose()


def test_a_session_that_is_ended_in_the_middle_is_the_store_unavailable(db: Database) -> None:
    def wait() -> None:
        with db.alone() as driver:
            WAITS.first(driver, {})

    with ThreadPoolExecutor() as threads, locked(db) as waiting:
        told = threads.submit(wait)
        _end(db, *wait_until(waiting))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            told.result(40)
    assert run(db, WAITS)["held"] == ""


def test_and_is_replaced_unseen_where_it_can_be_run_again(db: Database) -> None:
    with ThreadPoolExecutor() as threads, locked(db) as waiting:
        told = threads.submit(run, db, WAITS)
        ended = wait_until(waiting)
        _end(db, *ended)
        wait_until(lambda: set(waiting()) - set(ended))
    assert told.result(40)["by"] not in ended


def test_one_that_is_ended_while_idle_is_replaced_unseen(db: Database) -> None:
    before = run(db, WAITS)["by"]
    _end(db, before)
    assert run(db, WAITS)["by"] != before


def test_one_whose_server_does_not_answer_is_given_up_in_time(db: Database) -> None:
    with locked(db), pytest.raises(StoreUnavailable, match=r"does not answer \(waited 0\.3 s\)"):
        db.run(lambda driver: WAITS.first(driver, {}), within=0.3, alone=True)
    assert run(db, WAITS)["held"] == ""


def test_a_connection_that_is_cut_is_an_error_of_its_working(db: Database) -> None:
    run(db, WAITS)
    with db.alone() as driver, socket.socket(fileno=os.dup(driver.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(StoreUnavailable, match="does not answer") as caught, db.alone() as driver:
        WAITS.first(driver, {})
    assert isinstance(caught.value.__cause__, OperationalError)
    assert run(db, WAITS)["held"] == ""


def _end(db: Database, pid: int) -> None:
    """End another session than that of any connection here, and see it gone."""
    with psycopg.connect(db.url.set(drivername="postgresql").render_as_string(hide_password=False)) as other:
        other.execute("SELECT pg_terminate_backend(%s, 20000)", [pid])


@pytest.mark.parametrize("lost", ["DISCARD ALL", "ALTER TABLE queues ALTER COLUMN name TYPE varchar(90)"])
def test_a_statement_that_is_no_more_what_it_was_is_prepared_again_unseen(db: Database, lost: str) -> None:
    statement = Prepared(lambda is_sqlite: select(queues.c.name).where(queues.c.name == bindparam("name", type_=Text)))
    with db.transaction() as connection:
        connection.execute(insert(queues).values(name=lost))
    before = session(db)
    assert run(db, statement, {"name": lost}) == {"name": lost}
    with db.alone() as driver:
        driver.pgconn.exec_(lost.encode())
    assert run(db, statement, {"name": lost}) == {"name": lost}
    assert session(db) != before


def test_a_connection_that_the_driver_has_closed_is_replaced_unseen(db: Database) -> None:
    run(db, WAITS)
    with db.alone() as driver:
        driver.close()
    assert run(db, WAITS)["held"] == ""


def test_a_connection_that_was_in_a_transaction_commits_by_itself_again(db: Database) -> None:
    add = Prepared(lambda is_sqlite: insert(queues).values(name=bindparam("new", type_=Text)).returning(queues.c.name))
    before = session(db)
    for number, opened in enumerate((db.transaction, db.reading, db.asking)):
        with opened() as connection:
            connection.exec_driver_sql("SELECT 1")
        with pytest.raises(ZeroDivisionError), opened() as connection:
            raise ZeroDivisionError
        name = f"after-{number}"
        assert run(db, add, {"new": name}) == {"name": name}
        with psycopg.connect(db.url.set(drivername="postgresql").render_as_string(hide_password=False)) as other:
            assert other.execute("SELECT count(*) FROM queues WHERE name = %s", [name]).fetchone() == (1,)
    assert session(db) == before


ENCODINGS = ["LATIN1", "SQL_ASCII", "UTF8"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("spoken", [None, "LATIN1"])
def test_text_is_text_whatever_a_database_or_a_client_speaks(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch, encoding: str, spoken: str | None
) -> None:
    """What the server understood is what was said: not only what comes back, which might be wrong both ways."""
    monkeypatch.delenv("PGCLIENTENCODING", raising=False)
    if spoken is not None:
        monkeypatch.setenv("PGCLIENTENCODING", spoken)
    name = f"jobs_{encoding}_{uuid.uuid4().hex[:8]}".lower()
    with postgres._connect() as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode())
    text = bindparam("value", type_=Text)
    said = Prepared(lambda is_sqlite: select(text.label("value"), func.octet_length(text, type_=Integer).label("size")))
    db = Database(postgres.url(name), timeout=20)
    stored = len("Gebühr".encode("latin1" if encoding == "LATIN1" else "utf8"))
    for alone in (True, False):
        assert run(db, said, {"value": "Gebühr"}, alone) == {"value": "Gebühr", "size": stored}
    db.dispose()
    postgres.drop_database(name)


def test_moments_are_the_same_where_a_server_writes_them_otherwise(postgres: Databases) -> None:
    name = f"jobs_german_{uuid.uuid4().hex[:8]}"
    url = postgres.create_database(name)
    with postgres._connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET datestyle = 'German, DMY'".encode())
        connection.execute(f"ALTER DATABASE {name} SET timezone = 'America/New_York'".encode())
    db = Database(url, timeout=20)
    moment = datetime(2024, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    for alone in (True, False):
        assert run(db, echo(Timestamp), {"value": moment}, alone) == {"value": moment}
    db.dispose()
    postgres.drop_database(name)


def test_threads_have_each_their_own_answers(db: Database) -> None:
    statement = Prepared(
        lambda is_sqlite: select(bindparam("value", type_=Text).label("value"), func.pg_backend_pid().label("by"))
    )
    held: set[int] = set()

    def ask() -> None:
        for number in range(30):
            value = f"{id(held)}-{number}-Gebühr"
            row = run(db, statement, {"value": value})
            assert row["value"] == value
            held.add(row["by"])

    race(*[ask] * THREADS)
    with ThreadPoolExecutor() as threads, locked(db) as waiting:  # two at once: two connections
        told = [threads.submit(run, db, WAITS) for _ in range(2)]
        wait_until(lambda: len(waiting()) == 2)
        ask()
    assert len({answer.result(40)["by"] for answer in told}) == 2


def test_others_go_on_while_a_statement_waits(db: Database) -> None:
    """The answer comes only once this thread has had its turn: it would never, if the other kept the interpreter."""
    with ThreadPoolExecutor() as threads:
        with locked(db) as waiting:
            told = threads.submit(run, db, WAITS)
            wait_until(waiting)
            assert not told.done()
        assert told.result(40)["held"] == ""


def test_it_is_prepared_once_a_connection(db: Database) -> None:
    with round_trips(db) as said:
        for _ in range(3):
            run(db, WAITS)
    assert [words == "(prepared)" for words in said] == [False, True, True, True]
    (kept,) = prepared(db)
    assert kept.startswith("celery_jobs_")
    complete(db, store(db))
    workers.heartbeat(db, workers.register(db, "w@here", 1, ["celery"]), ["celery"], ["reaper"])
    assert sum(name.startswith("celery_jobs_") for name in prepared(db)) == 5
    db.dispose()
    assert prepared(db) == []
    run(db, WAITS)
    assert prepared(db) == [kept]


def test_what_is_not_kept_leaves_nothing_on_the_server(db: Database) -> None:
    for number in range(8):
        statement = Prepared(lambda is_sqlite: select(bindparam("value", type_=Text).label("value")), kept=False)
        assert run(db, statement, {"value": f"{number}"}) == {"value": f"{number}"}
    assert not [name for name in prepared(db) if name.startswith("celery_jobs_")]
    assert len(prepared(db)) <= 1  # the driver's own, of the text that is the same


def test_behind_a_pooler_it_is_the_drivers_own_way(db: Database) -> None:
    pooled = Database(db.url.render_as_string(hide_password=False), timeout=20, is_pooled=True)
    _assert_not_prepared(pooled)
    for type_, value in VALUES:
        assert run(pooled, echo(type_), {"value": value}) == {"value": value}
    with pytest.raises(Exception, match="no_such_function"):
        run(pooled, WRONG["no such function"][0])
    pooled.dispose()


@pytest.mark.parametrize(
    ("module", "asked"), [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")]
)
def test_among_greenlets_it_is_the_drivers_own_way(
    db: Database, monkeypatch: pytest.MonkeyPatch, module: str, asked: str
) -> None:
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{asked: lambda name: False}))
    run(db, WAITS)
    assert len(prepared(db)) == 1
    db.dispose()
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{asked: lambda name: name == "socket"}))
    with round_trips(db) as said:
        assert run(db, WAITS)["held"] == ""
    assert "(prepared)" not in said
    assert prepared(db) == []


def _assert_not_prepared(db: Database) -> None:
    with round_trips(db) as said:
        for _ in range(7):  # more often than the driver would prepare it
            run(db, WAITS)
    assert len(said) == 7
    assert "(prepared)" not in said
    assert prepared(db) == []


GREENLETS = """
import sys
from tests.pools.frozen_database import patched
patched(sys.argv[1])
from celery_jobs.store.db import Database
from tests.store.conftest import complete, store
from tests.servers.round_trips import round_trips
db = Database(sys.argv[2], timeout=20)
complete(db, store(db))
with db.alone() as driver:
    assert not driver.execute("SELECT 1 FROM pg_prepared_statements WHERE name LIKE 'celery_jobs%'").fetchall()
db.dispose()
print("well")
"""


@pytest.mark.matrix
@pytest.mark.parametrize("pool", GREEN)
def test_real_greenlets_have_nothing_prepared(db: Database, pool: str) -> None:
    importing(pool)
    url = db.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS, pool, url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr


@pytest.mark.matrix
def test_a_server_that_freezes_is_given_up_in_time(own_postgres: Postgres, fragile_url: str) -> None:
    db = Database(fragile_url)
    assert run(db, WAITS)["held"] == ""
    with own_postgres.frozen(), pytest.raises(StoreUnavailable, match=r"does not answer \(waited 0\.5 s\)"):
        db.run(lambda driver: WAITS.first(driver, {}), within=0.5, alone=True)
    assert run(db, WAITS)["held"] == ""
    db.dispose()


@pytest.mark.matrix
def test_a_server_that_crashes_in_the_middle_is_the_store_unavailable(own_postgres: Postgres, fragile_url: str) -> None:
    db = Database(fragile_url)
    holder = psycopg.connect(db.url.set(drivername="postgresql").render_as_string(hide_password=False))
    holder.execute("SELECT pg_advisory_xact_lock(7)")
    with ThreadPoolExecutor() as threads:
        told = threads.submit(run, db, WAITS)
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: (row := holder.execute(waiting).fetchone()) and row[0])
        own_postgres.kill()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            told.result(40)
    holder.close()
    own_postgres.start()
    assert run(db, WAITS)["held"] == ""
    db.dispose()
