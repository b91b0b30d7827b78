"""Jobs in a transaction of SQLAlchemy's: kept, sent and gone with it (semantics.md section 4)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from celery import chord, group
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from celery_jobs import DuplicateJob, InvalidJob, JobNotFound, Jobs
from celery_jobs.batch import Batch
from celery_jobs.events import Event, Kind, subscribe, unsubscribe
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store import workers
from tests.apps import working
from tests.servers.databases import BOTH
from tests.store.conftest import shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from tests.servers.databases import Databases


pytestmark = pytest.mark.parametrize("database_url", BOTH, indirect=True)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The caller's own engine, with a table of the caller's own."""
    engine = create_engine(make_url(database_url).set(drivername=_driver(database_url)))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def _driver(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql+psycopg"


def orders(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM orders ORDER BY id")).scalars())


def insert(connection: Any, order: int) -> None:
    connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})


def test_a_job_is_sent_after_the_commit_of_a_session_and_not_before(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    with Session(engine) as session:
        insert(session, 1)
        result = charge.apply_async((1,), session=session)
        assert (result.job_id, result.deduplicated) == (result.id, False)
        assert sent() == 0
        with pytest.raises(JobNotFound):
            Jobs(app).get(result.id)
        session.commit()
    assert (orders(engine), sent()) == ([1], 1)
    with working(app):
        assert Jobs(app).wait(result.id, timeout=20).result == 1


def test_a_rollback_takes_the_job_along(app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]) -> None:
    with Session(engine) as session:
        insert(session, 1)
        result = charge.apply_async((1,), session=session)
        session.rollback()
        insert(session, 2)
        session.commit()
    assert (orders(engine), sent()) == ([2], 0)
    with pytest.raises(JobNotFound):
        Jobs(app).get(result.id)


def test_a_commit_that_fails_sends_nothing(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Any) -> None:
        raise ConnectionError("gone")

    with Session(engine) as session:
        charge.apply_async((1,), session=session)
        monkeypatch.setattr(engine.dialect, "do_commit", fail)
        with pytest.raises(ConnectionError):
            session.commit()
        monkeypatch.undo()
    assert sent() == 0


@pytest.mark.parametrize("begin", ["begin", "connect"])
def test_a_connection_is_taken_as_well(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int], begin: str
) -> None:
    with getattr(engine, begin)() as connection:
        insert(connection, 1)
        charge.apply_async((1,), session=connection)
        assert sent() == 0
        if begin == "connect":
            connection.commit()
    assert (orders(engine), sent()) == ([1], 1)


def test_the_next_transaction_of_a_connection_sends_nothing_again(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    with engine.connect() as connection:
        for order in (1, 2):
            charge.apply_async((order,), session=connection)
            connection.commit()
        insert(connection, 3)
        connection.commit()
    assert sent() == 2


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_and_no_others(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    _let_savepoints_work(engine)
    with Session(engine) as session:
        kept = charge.apply_async((1,), session=session)
        with session.begin_nested() as savepoint:
            undone = charge.apply_async((2,), session=session)
            savepoint.rollback()
        with session.begin_nested():
            also = charge.apply_async((3,), session=session)
        assert sent() == 0  # a savepoint that is released is not a commit
        session.commit()
    assert sent() == 2
    assert {run.id for run in Jobs(app).list().runs} == {kept.id, also.id} != {undone.id}


def _let_savepoints_work(engine: Engine) -> None:
    """SQLAlchemy's recipe for Python's sqlite3, which would commit before a savepoint."""
    if engine.dialect.name != "sqlite":
        return

    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None

    engine.dispose()
    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


def test_a_session_that_has_joined_a_wider_transaction_waits_for_that(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    _let_savepoints_work(engine)
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            charge.apply_async((1,), session=session)
            session.commit()
        assert sent() == 0
        outer.commit()
    assert sent() == 1


def test_what_goes_wrong_after_the_commit_is_no_error_of_the_commit(
    app: Celery, charge: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Batch, "_send", fail)
    with Session(engine) as session:
        result = charge.apply_async((1,), session=session)
        session.commit()
        insert(session, 1)  # the session is of use yet
        session.commit()
    assert (Jobs(app).get(result.id).status, orders(engine)) == ("pending", [1])
    assert "the redispatcher sends them" in caplog.text


@pytest.mark.parametrize("ended", [True, False])
def test_nothing_of_a_transaction_that_was_not_committed_is_kept(
    app: Celery, charge: Any, engine: Engine, ended: bool
) -> None:
    connection = engine.connect()
    charge.apply_async((1,), session=connection)
    if ended:
        connection.rollback()
    dropped = weakref.ref(connection)
    del connection
    gc.collect()
    assert dropped() is None


def test_scoped_sessions_are_sessions(app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]) -> None:
    session = scoped_session(sessionmaker(engine))
    charge.apply_async((1,), session=session)
    session.commit()
    session.remove()
    assert sent() == 1


def test_an_async_session_runs_it_in_its_own_way(
    app: Celery, charge: Any, database_url: str, sent: Callable[[], int]
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("needs aiosqlite, a driver that these tests do without")

    async def enqueue() -> Any:
        engine = create_async_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
        async with AsyncSession(engine) as session:
            with pytest.raises(InvalidJob, match="run_sync"):
                charge.apply_async((1,), session=session)
            result = await session.run_sync(lambda session: charge.apply_async((1,), session=session))
            assert sent() == 0
            await session.commit()
        await engine.dispose()
        return result

    result = asyncio.run(enqueue())
    assert (sent(), Jobs(app).get(result.id).status) == (1, "pending")


def test_a_batch_with_canvas_inside_is_one_part_of_the_transaction(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    @app.task(name="total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with Session(engine) as session:
        with Jobs(app).batch(session=session):
            whole = chord(group(charge.s(1), charge.s(2)), total.s()).apply_async()
            charge.delay(3)
        assert sent() == 0
        session.commit()
    with working(app):
        assert whole.get(timeout=40) == 3


def test_members_of_a_group_take_the_option(app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]) -> None:
    with Session(engine) as session:
        group(charge.s(1), charge.s(2)).apply_async(session=session)
        assert sent() == 0
        session.commit()
    assert sent() == 2


def test_many_items_are_part_of_one_transaction(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    with Session(engine) as session:
        outcomes = Jobs(app).enqueue_many([charge.s(order) for order in range(20)], session=session)
        assert all(outcome.job_id for outcome in outcomes)
        assert sent() == 0
        session.commit()
    assert sent() == 20


def test_our_own_door_gives_the_run_that_only_the_transaction_sees(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    with Session(engine) as session:
        run = Jobs(app).enqueue("charge", [1], tags={"order": "1"}, session=session)
        assert (run.status, run.tags, sent()) == ("pending", {"order": "1"}, 0)
        session.rollback()
    with pytest.raises(JobNotFound):
        Jobs(app).get(run.id)


def test_a_key_finds_the_job_inside_and_outside_of_the_transaction(app: Celery, charge: Any, engine: Engine) -> None:
    before = charge.apply_async((1,), idempotency_key="a")
    with Session(engine) as session:
        again = charge.apply_async((1,), idempotency_key="a", session=session)
        first = charge.apply_async((2,), idempotency_key="b", session=session)
        second = charge.apply_async((2,), idempotency_key="b", session=session)
        session.commit()
    assert (again.job_id, again.deduplicated) == (before.job_id, True)
    assert (second.job_id, second.deduplicated) == (first.job_id, True)


def test_what_waits_long_is_held_after_the_commit(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    with Session(engine) as session:
        held = charge.apply_async((1,), delay=3600, session=session)
        session.commit()
    assert sent() == 0
    assert Jobs(app).get(held.id).attempts[0].sent_at is None


def test_it_is_announced_when_it_is_there(app: Celery, charge: Any, engine: Engine) -> None:
    told: list[str | None] = []

    def listen(event: Event) -> None:
        if event.kind == Kind.ENQUEUED:
            told.append(event.job_id)

    subscribe(listen)
    try:
        with Session(engine) as session:
            charge.apply_async((1,), session=session)
            session.rollback()
            kept = charge.apply_async((2,), session=session)
            assert told == []
            session.commit()
    finally:
        unsubscribe(listen)
    assert told == [kept.job_id]


def test_a_producer_killed_between_commit_and_send_leaves_a_job_that_is_sent_later(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int], broker_url: str
) -> None:
    database = plugin_of(app).db
    url = engine.url.render_as_string(hide_password=False)
    arguments = [sys.executable, "-c", PRODUCER, broker_url, database.url.render_as_string(False), url]
    dead = subprocess.run(arguments, env={**os.environ, "CELERY_JOBS_FAILPOINT": "send.begun:kill"}, check=False)
    assert dead.returncode == -signal.SIGKILL
    assert (orders(engine), sent(), len(Jobs(app).list().runs)) == ([1], 0, 1)
    workers.register(database, "worker@here", 1, ["celery"])
    shift(database, 130)
    assert make_service(plugin_of(app), "redispatcher").run_once() == 1
    assert sent() == 1


PRODUCER = """
import sys
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from tests.apps import make_app

app = make_app(*sys.argv[1:3])

@app.task(name="charge")
def charge(order): ...

with Session(create_engine(sys.argv[3])) as session:
    session.execute(text("INSERT INTO orders VALUES (1)"))
    charge.apply_async((1,), session=session)
    session.commit()
"""


def test_a_transaction_on_another_database_is_refused_before_anything_is_written(
    app: Celery, charge: Any, tmp_path: Path, engine: Engine, sent: Callable[[], int]
) -> None:
    other = create_engine(f"sqlite:///{tmp_path}/other.sqlite3")
    with Session(other) as session, pytest.raises(InvalidJob, match=r"another database .*other.sqlite3") as refusal:
        charge.apply_async((1,), session=session)
    other.dispose()
    assert refusal.value.field == "session"
    assert (sent(), Jobs(app).list().runs) == (0, ())


def test_another_database_of_the_same_server_is_another_database(
    app: Celery, charge: Any, database_url: str, postgres: Databases, postgresql_template: str
) -> None:
    url = make_url(postgres.create_database("jobs_twin", postgresql_template))
    twin = create_engine(url.set(drivername="postgresql+psycopg"))
    try:
        with Session(twin) as session, pytest.raises(InvalidJob, match="another database"):
            charge.apply_async((1,), session=session)
    finally:
        twin.dispose()
        postgres.drop_database("jobs_twin")


def test_a_table_of_the_same_name_in_another_schema_is_another_table(app: Celery, charge: Any, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no schemas")
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA tenant"))
        connection.execute(text("CREATE TABLE tenant.jobs (LIKE public.jobs)"))
    with Session(engine) as session:
        session.execute(text("SET search_path TO tenant, public"))
        with pytest.raises(InvalidJob, match="another database"):
            charge.apply_async((1,), session=session)


def test_a_connection_is_asked_again_where_it_looks_for_the_table(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no schemas")
    with engine.begin() as connection:
        charge.apply_async((1,), session=connection)
        connection.execute(text("CREATE SCHEMA tenant"))
        connection.execute(text("CREATE TABLE tenant.jobs (LIKE public.jobs INCLUDING ALL)"))
        connection.execute(text("CREATE TABLE tenant.messages (LIKE public.messages)"))
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path TO tenant, public"))
        with pytest.raises(InvalidJob, match="another database"):
            charge.apply_async((2,), session=connection)
    assert sent() == 1


def test_the_callers_own_schemas_are_not_those_of_the_jobs(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    schemas = {None: "tenant"}
    with Session(engine.execution_options(schema_translate_map=schemas)) as session:
        charge.apply_async((1,), session=session)
        assert session.connection().get_execution_options()["schema_translate_map"] == schemas
        session.commit()
    assert sent() == 1


def test_another_spelling_of_the_same_database_is_the_same(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int], tmp_path: Path
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("one spelling is enough")
    (tmp_path / "link").symlink_to(tmp_path)
    linked = create_engine(f"sqlite:///{tmp_path}/link/jobs.sqlite3")
    with Session(linked) as session:
        charge.apply_async((1,), session=session)
        session.commit()
    linked.dispose()
    assert sent() == 1


def test_a_connection_that_commits_by_itself_has_no_transaction(app: Celery, charge: Any, engine: Engine) -> None:
    with engine.connect() as connection:
        commits = connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(InvalidJob, match="autocommit"):
            charge.apply_async((1,), session=commits)
    assert Jobs(app).list().runs == ()


@pytest.mark.parametrize("session", ["default", object(), 3])
def test_anything_else_is_refused(app: Celery, charge: Any, session: Any) -> None:
    with pytest.raises(InvalidJob, match="a SQLAlchemy Session or Connection, or a Django connection"):
        charge.apply_async((1,), session=session)


def test_a_session_of_its_own_inside_a_batch_is_refused(app: Celery, charge: Any, engine: Engine) -> None:
    with Session(engine) as session:
        with pytest.raises(InvalidJob, match="give the session to the batch"), Jobs(app).batch():
            charge.apply_async((1,), session=session)
        with Jobs(app).batch(session=session):
            charge.apply_async((1,), session=session)
        session.commit()
    assert len(Jobs(app).list().runs) == 1


def test_a_refused_batch_leaves_nothing_in_a_transaction_that_is_committed_all_the_same(
    app: Celery, charge: Any, engine: Engine, sent: Callable[[], int]
) -> None:
    owner = charge.apply_async((1,), idempotency_key="a")
    with Session(engine) as session:
        with pytest.raises(DuplicateJob), Jobs(app).batch(session=session):
            group(charge.s(2), charge.s(1).set(idempotency_key="a")).apply_async()
        insert(session, 1)
        session.commit()
    assert (orders(engine), sent()) == ([1], 1)
    assert [run.id for run in Jobs(app).list().runs] == [owner.id]
