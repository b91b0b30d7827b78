"""A transaction on a SQLite file that has no tables of ours yet: they cannot be made beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from celery_jobs import Jobs, SchemaOutdated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery
    from sqlalchemy import Engine


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/new.sqlite3"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def test_one_that_has_written_is_told_what_to_run_and_does_not_wait_for_itself(
    app: Celery, charge: Any, engine: Engine
) -> None:
    with Session(engine) as session:
        session.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(SchemaOutdated, match="has no tables yet; run: celery -A <your app> jobs migrate"):
            charge.apply_async((1,), session=session)
    assert Jobs(app).list().runs == ()


def test_one_that_has_not_begun_finds_them_made(app: Celery, charge: Any, engine: Engine) -> None:
    with Session(engine) as session:
        result = charge.apply_async((1,), session=session)
        session.execute(text("INSERT INTO orders VALUES (1)"))
        session.commit()
    assert Jobs(app).get(result.id).status == "pending"
