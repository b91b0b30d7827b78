"""The same promises through PgBouncer in transaction mode, where each transaction has another of two sessions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from celery_jobs import Jobs, StoreUnavailable
from celery_jobs.errors import SchemaOutdated
from celery_jobs.plugin import plugin_of
from celery_jobs.services import SERVICES, make_service
from celery_jobs.store import invariants, migrations
from celery_jobs.store.db import Database
from tests.apps import be_quiet, make_app, working
from tests.processes import wait_until
from tests.store.conftest import complete, race, shift, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

THREADS, JOBS = 6, 20


@pytest.fixture
def direct_url(new_postgresql_database: Callable[[], str], postgres: Any) -> Iterator[str]:
    url = new_postgresql_database()
    yield url
    postgres.drop_database(str(make_url(url).database))


@pytest.fixture
def pooled_url(pooler: str, direct_url: str) -> str:
    url = make_url(pooler).set(drivername="postgresql+psycopg", database=make_url(direct_url).database)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def db(pooled_url: str) -> Iterator[Database]:
    database = Database(pooled_url, 10, is_pooled=True)
    yield database
    database.dispose()


@pytest.fixture
def app(broker_url: str, pooled_url: str) -> Iterator[Celery]:
    app = make_app(broker_url, pooled_url, jobs_database_pooler=True, jobs_promote_interval=0.5, jobs_promote_ahead=1)

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="flaky", bind=True, shared=False)
    def flaky(self: Any, fails: int) -> str:
        if self.request.retries < fails:
            raise ValueError("not yet")
        return "at last"

    yield app
    assert invariants.check(plugin_of(app).db) == []
    plugin_of(app).db.dispose()
    be_quiet(app)
    app.close()


@pytest.mark.slow
def test_jobs_run_wait_retry_die_and_are_replayed(app: Celery, pooled_url: str) -> None:
    add, flaky = app.tasks["add"], app.tasks["flaky"]
    engine = create_engine(pooled_url, poolclass=NullPool, connect_args={"prepare_threshold": None})
    with working(app):
        late = add.apply_async((1, 2), delay=61)  # held in SQL
        with Session(engine) as session:
            joined = add.apply_async((5, 6), session=session)
            assert joined.state == "PENDING"
            session.commit()
        with Session(engine) as session:
            undone = add.apply_async((7, 8), session=session)
            session.rollback()
        assert add.delay(3, 4).get(timeout=40) == 7
        assert joined.get(timeout=40) == 11
        assert flaky.delay(2).get(timeout=40) == "at last"
        dead = flaky.delay(9)
        with pytest.raises(ValueError, match="not yet"):
            dead.get(timeout=40)
        buried = wait_until(lambda: (run := Jobs(app).get(dead.id)).has_ended and run)
        Jobs(app).replay(buried.id, reason="mended")
        assert [result.get(timeout=40) for result in (add.delay(n, n) for n in range(10))] == list(range(0, 20, 2))
        shift(plugin_of(app).db, 61)
        assert late.get(timeout=40) == 3
        replayed = wait_until(lambda: [run for run in Jobs(app).list() if run.replay_of and run.has_ended])
    assert (buried.final_status, buried.attempt_number) == ("dead_lettered", 3)
    assert replayed[0].final_status == "dead_lettered"
    assert undone.id not in {run.task_id for run in Jobs(app).list()}
    assert all(make_service(plugin_of(app), name).run_once() == 0 for name in SERVICES)


def test_more_threads_than_sessions_take_turns_on_them(db: Database) -> None:
    def work() -> None:
        for _ in range(JOBS):  # more often than the driver would prepare a statement
            complete(db, store(db))

    race(*[work] * THREADS)
    assert invariants.check(db) == []
    with db.asking() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs WHERE ended_at IS NOT NULL")).scalar() == (
            THREADS * JOBS
        )


def test_a_transaction_has_its_limits_and_leaves_none_behind(db: Database, pooled_url: str) -> None:
    limit = text("SHOW lock_timeout")
    with db.transaction() as connection:
        assert connection.execute(limit).scalar() == "10s"
    with db.reading() as connection:
        assert connection.execute(limit).scalar() == "10s"
    race(*[partial(complete, db, store(db)) for _ in range(THREADS)])
    with create_engine(pooled_url, poolclass=NullPool).begin() as one:
        assert one.execute(limit).scalar() == "0"
        assert one.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0
        with create_engine(pooled_url, poolclass=NullPool).begin() as other:
            assert other.execute(limit).scalar() == "0"
            assert other.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0


def test_without_the_setting_the_poolers_refusal_says_what_to_set(pooled_url: str) -> None:
    database = Database(pooled_url)
    with pytest.raises(StoreUnavailable, match="jobs_database_pooler = True"):
        store(database)
    database.dispose()


def test_a_new_database_is_migrated_through_it_and_an_old_one_is_not(pooler: str, postgres: Any) -> None:
    name = "pooled_migration"
    postgres.create_database(name)
    url = make_url(pooler).set(drivername="postgresql+psycopg", database=name)
    db = Database(url.render_as_string(hide_password=False), is_pooled=True)
    try:
        assert migrations.upgrade(db, "0002") is None
        with pytest.raises(SchemaOutdated, match="behind a pooler"):
            migrations.upgrade(db)
        assert migrations.upgrade(postgres.url(name)) == "0002"
        assert migrations.problem(db) is None
    finally:
        db.dispose()
        postgres.drop_database(name)
