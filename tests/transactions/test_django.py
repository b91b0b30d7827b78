"""Jobs in a transaction of Django's, on the same database (semantics.md section 4)."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.transaction import atomic
from sqlalchemy.engine import make_url

from celery_jobs import InvalidJob, JobNotFound, Jobs
from tests.apps import working
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery


pytestmark = pytest.mark.parametrize("database_url", BOTH, indirect=True)


def _settings(url: str) -> dict[str, Any]:
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.database}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.database,
        "USER": parts.username,
        "PASSWORD": parts.password or "",
        "HOST": parts.host or parts.query.get("host", ""),
        "PORT": str(parts.port or ""),
    }


@contextmanager
def _connected(alias: str, url: str) -> Iterator[Any]:
    """One more database of the project's."""
    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True, TIME_ZONE="Asia/Tokyo")
        django.setup()
    connections.settings[alias] = connections.configure_settings({"default": _settings(url)})["default"]
    try:
        yield connections[alias]
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    with _connected("default", database_url) as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        yield connection


def insert(connection: Any, order: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s)", [order])


def orders(connection: Any) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM orders ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def test_a_job_is_sent_after_the_commit_and_not_before(
    app: Celery, charge: Any, connection: Any, sent: Callable[[], int]
) -> None:
    with atomic():
        insert(connection, 1)
        result = charge.apply_async((1,), session=connection)
        assert sent() == 0
        with pytest.raises(JobNotFound):
            Jobs(app).get(result.id)
    assert (orders(connection), sent()) == ([1], 1)
    with working(app):
        assert Jobs(app).wait(result.id, timeout=20).result == 1


def test_a_rollback_takes_the_job_along(app: Celery, charge: Any, connection: Any, sent: Callable[[], int]) -> None:
    with atomic():
        insert(connection, 1)
        charge.apply_async((1,), session=connection)
        transaction.set_rollback(True)
    assert (orders(connection), sent(), Jobs(app).list().runs) == ([], 0, ())


def test_an_inner_block_that_is_undone_takes_its_jobs_and_no_others(
    app: Celery, charge: Any, connection: Any, sent: Callable[[], int]
) -> None:
    with atomic():
        kept = charge.apply_async((1,), session=connection)
        with atomic():
            charge.apply_async((2,), session=connection)
            transaction.set_rollback(True)
        with atomic():
            also = charge.apply_async((3,), session=connection)
        assert sent() == 0
    assert sent() == 2
    assert {run.id for run in Jobs(app).list().runs} == {kept.id, also.id}


def test_outside_of_a_block_it_is_sent_at_once(
    app: Celery, charge: Any, connection: Any, sent: Callable[[], int]
) -> None:
    charge.apply_async((1,), session=connection)
    assert sent() == 1
    assert connection.get_autocommit()


def test_moments_are_those_of_the_jobs_and_not_of_the_projects_time_zone(
    app: Celery, charge: Any, connection: Any
) -> None:
    with atomic():
        run = Jobs(app).enqueue("charge", [1], delay=30, tags={"order": "1"}, session=connection)
    stored = Jobs(app).get(run.id)
    assert (run.scheduled_at, run.created_at, run.tags) == (stored.scheduled_at, stored.created_at, {"order": "1"})
    assert abs(run.scheduled_at - (datetime.now(UTC) + timedelta(seconds=30))) < timedelta(seconds=25)


def test_a_batch_is_part_of_it(app: Celery, charge: Any, connection: Any, sent: Callable[[], int]) -> None:
    with atomic(), Jobs(app).batch(session=connection):
        for order in range(20):
            charge.delay(order)
    assert sent() == 20


def test_a_connection_to_another_database_is_refused(
    app: Celery, charge: Any, connection: Any, tmp_path: Any, sent: Callable[[], int]
) -> None:
    other_url = f"sqlite:///{tmp_path}/other.sqlite3"
    with (
        _connected("other", other_url) as other,
        atomic(using="other"),
        pytest.raises(InvalidJob, match="another database"),
    ):
        charge.apply_async((1,), session=other)
    assert sent() == 0
