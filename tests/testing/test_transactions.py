"""A transaction of the tested code's own, in a sandbox: its jobs are there once it is committed, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from celery_jobs import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from celery_jobs.testing import Sandbox


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The tested code's database, with savepoints that work: SQLAlchemy's recipe for sqlite3."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


@pytest.fixture
def charge(sandbox: Sandbox) -> Any:
    @sandbox.app.task(name="charge", shared=False)
    def charge(order: int) -> int:
        return order

    return charge


def test_a_job_is_there_after_the_commit_and_runs(sandbox: Sandbox, charge: Any, engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(text("INSERT INTO orders VALUES (1)"))
        result = charge.apply_async((1,), session=session)
        sandbox.assert_not_enqueued(charge)
        session.commit()
    assert sandbox.assert_enqueued(charge, args=(1,)).id == result.job_id
    [run] = sandbox.drain()
    assert (run.result, result.get()) == (1, 1)


def test_a_rollback_takes_it_along(sandbox: Sandbox, charge: Any, engine: Engine) -> None:
    with Session(engine) as session:
        charge.apply_async((1,), session=session, idempotency_key="a")
        session.rollback()
        kept = charge.apply_async((2,), session=session, idempotency_key="a")
        session.commit()
    assert not kept.deduplicated
    assert [run.id for run in sandbox.drain()] == [kept.job_id]


def test_so_does_a_savepoint_and_no_others(sandbox: Sandbox, charge: Any, engine: Engine) -> None:
    with Session(engine) as session:
        first = charge.apply_async((1,), session=session)
        with session.begin_nested() as savepoint:
            charge.apply_async((2,), session=session)
            with session.begin_nested():
                charge.apply_async((3,), session=session)
            savepoint.rollback()
        with session.begin_nested():
            last = charge.apply_async((4,), session=session)
        session.commit()
    assert {run.id for run in sandbox.drain()} == {first.job_id, last.job_id}


def test_a_key_finds_the_job_of_the_same_transaction(sandbox: Sandbox, charge: Any, engine: Engine) -> None:
    before = charge.apply_async((0,), idempotency_key="before")
    with Session(engine) as session:
        first, second = (charge.apply_async((1,), idempotency_key="a", session=session) for _ in range(2))
        again = charge.apply_async((0,), idempotency_key="before", session=session)
        session.commit()
    assert [(found.job_id, found.deduplicated) for found in (first, second, again)] == [
        (first.job_id, False),
        (first.job_id, True),
        (before.job_id, True),
    ]
    assert len(sandbox.drain()) == 2


def test_the_other_doors_take_one_too(sandbox: Sandbox, charge: Any, engine: Engine) -> None:
    with engine.begin() as connection:
        run = sandbox.jobs.enqueue("charge", [1], tags=["night"], session=connection)
        sandbox.jobs.enqueue_many([charge.s(2), charge.s(3)], session=connection)
        with sandbox.jobs.batch(session=connection):
            charge.delay(4)
        sandbox.assert_not_enqueued()
    assert (run.status, run.tags) == ("pending", ["night"])
    assert sorted(run.result for run in sandbox.drain()) == [1, 2, 3, 4]


def test_what_is_no_transaction_is_refused_here_as_well(sandbox: Sandbox, charge: Any, engine: Engine) -> None:
    with pytest.raises(InvalidJob, match="a SQLAlchemy Session or Connection"):
        charge.apply_async((1,), session=object())
    assert sandbox.enqueued() == []
