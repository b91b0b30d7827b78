"""The page of scaling: what it says of replicas holds on a database that takes no writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, make_url, text

from celery_jobs import Jobs, StoreUnavailable
from celery_jobs.plugin import plugin_of
from celery_jobs.store.db import Database
from tests.apps import make_app
from tests.store.conftest import complete, dead_letter, store

if TYPE_CHECKING:
    from collections.abc import Callable


def test_what_takes_no_writes_answers_reads_and_refuses_the_rest(
    broker_url: str, new_postgresql_database: Callable[[], str], postgres: Any
) -> None:
    url = new_postgresql_database()
    name = str(make_url(url).database)
    primary = Database(url)
    waiting, dead = store(primary), dead_letter(primary)
    complete(primary, store(primary))
    primary.dispose()
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    engine.dispose()

    app = make_app(broker_url, url)
    jobs = Jobs(app)
    assert len(jobs.list()) == 3
    assert [run.id for run in jobs.list(status="dead_lettered")] == [dead]
    assert jobs.get(waiting).status == "pending"
    assert (jobs.count(), [queue.waiting for queue in jobs.queues()]) == (3, [1])
    assert len(jobs.error_groups()) == 1
    assert jobs.check() == []
    with pytest.raises(StoreUnavailable, match="takes no writes"):
        jobs.cancel(waiting)
    plugin_of(app).db.dispose()
    app.close()
    postgres.drop_database(name)
