"""The roles of deploy/roles.sql: each does its work, and nothing that is not its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import make_url

from celery_jobs import Actor, AuditedJobs, Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.services import SERVICES, make_service
from tests.apps import working
from tests.processes import wait_until
from tests.web.shop import ADD, FAIL, FLAKY, make_shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

ROLES = Path(__file__).parents[2] / "deploy" / "roles.sql"


@pytest.fixture
def url(new_postgresql_database: Callable[[], str]) -> str:
    """A database whose roles are there; twice, as after each migration."""
    made = new_postgresql_database()
    with psycopg.connect(_plain(made), autocommit=True) as connection:
        for _ in range(2):
            connection.execute(ROLES.read_text().encode())
    return made


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _as(url: str, role: str) -> str:
    """The same for who has a role and no other."""
    return f"{url}{'&' if '?' in url else '?'}options={quote(f'-c role=celery_jobs_{role}')}"


@pytest.fixture
def new_app(url: str, broker_url: str) -> Iterator[Callable[[str], Celery]]:
    made: list[Celery] = []

    def new(role: str) -> Celery:
        made.append(make_shop(broker_url, _as(url, role)))
        return made[-1]

    yield new
    for app in made:
        plugin_of(app).db.dispose()
        app.close()


def test_each_role_does_its_work(new_app: Callable[[str], Celery]) -> None:
    producer, worker = new_app("producer"), new_app("worker")
    ids = [producer.tasks[name].delay(*args).job_id for name, args in ((ADD, (1,)), (FLAKY, ()), (FAIL, ()))]
    first, again = (producer.tasks[ADD].apply_async((2,), idempotency_key="k") for _ in range(2))
    assert first.job_id == again.job_id
    outcomes = Jobs(producer).enqueue_many([{"task": ADD, "args": [n]} for n in range(3)])
    with working(worker, queues=["celery", "celery-jobs"]):
        wait_until(lambda: all(Jobs(worker).get(id).has_ended for id in [*ids, *(str(o.job_id) for o in outcomes)]))
    for name in SERVICES:
        make_service(plugin_of(worker), name).run_once()
    operator = AuditedJobs(new_app("dashboard"), Actor("ada", "dashboard"))
    operator.pause("celery", reason="why")
    operator.resume("celery")
    operator.schedule("nightly", ADD, (1,), every=60)
    operator.make_token("ci", ["read"])
    replay = operator.replay(ids[2])
    operator.cancel(replay.id)
    assert operator.erase(ids[2]).erased_at is not None
    assert operator.purge(ids[2]) > 0
    assert {act.result for act in operator.acts()} == {"done"}
    reader = Jobs(new_app("reader"))
    assert len(reader.list().runs) == 7
    assert reader.get(ids[0]).final_status == "success"
    assert reader.queues()
    assert reader.timeline(5).queues
    assert reader.acts()


REFUSED = [
    ("producer", "DELETE FROM jobs"),
    ("producer", "UPDATE queues SET paused_at = NULL"),
    ("producer", "SELECT FROM tokens"),
    ("worker", "SELECT FROM tokens"),
    ("worker", "UPDATE audit SET actor = ''"),
    ("worker", "INSERT INTO audit DEFAULT VALUES"),
    ("dashboard", "DELETE FROM audit"),
    ("dashboard", "UPDATE audit SET actor = ''"),
    ("dashboard", "UPDATE audit SET target = '{}', reason = ''"),
    ("dashboard", "DELETE FROM tokens"),
    ("reader", "SELECT FROM messages"),
    ("reader", "SELECT FROM tokens"),
    ("reader", "UPDATE jobs SET priority = 1"),
]


def test_no_role_does_anothers(url: str) -> None:
    everybody = ("producer", "worker", "dashboard", "reader")
    denied = ("CREATE TABLE public.mine ()", "DROP TABLE jobs", "TRUNCATE jobs", "ALTER TABLE jobs ADD x int")
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        attempt: Any = connection.execute
        for role, statement in [*REFUSED, *((role, statement) for role in everybody for statement in denied)]:
            attempt(f"SET ROLE celery_jobs_{role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attempt(statement)
