"""PostgreSQL tells a follower when to look: few statements while nothing happens, and none lost with a connection."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, make_url, text

from celery_jobs import Jobs, StoreUnavailable, following
from celery_jobs.store import chains
from celery_jobs.store import following as marks
from celery_jobs.store.listening import Listener
from tests.apps import make_app
from tests.follow.conftest import Follower, kinds
from tests.jobs.conftest import ADD, FAILURE, claim, declare, fail, succeed
from tests.processes import wait_until
from tests.store.conftest import beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.store.db import Database
    from tests.servers.postgres import Postgres

    Follow = Callable[..., Follower]

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

LISTENS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


def listening(db: Database) -> list[int]:
    """The server's processes of those who listen."""
    with db.reading() as connection:
        return list(connection.execute(text(LISTENS)).scalars())


def is_followed(db: Database, job_id: str) -> bool:
    with db.reading() as connection:
        return bool(connection.execute(text("SELECT followed FROM jobs WHERE id = :id"), {"id": job_id}).scalar_one())


def followed(db: Database, follow: Follow, id: str) -> Follower:
    """A follower that listens."""
    follower = follow(id)
    wait_until(lambda: listening(db) != [], message="nobody listens")
    return follower


def test_it_hears_what_happens_and_asks_nothing_while_nothing_does(
    doors: Jobs, db: Database, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks beside what is heard come so late here that only what is heard can be told in time."""
    monkeypatch.setattr(following, "NET", 50.0)
    id = doors.enqueue(ADD, (1,)).id
    said: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    follower = follow(id)
    # Its id, its rows, the mark (a lock, an update), LISTEN, and its rows once more.
    wait_until(lambda: len(said) == 6, message=lambda: f"asked: {said}")
    time.sleep(1.5)  # four looks of who does not hear
    assert len(said) == 6
    started = time.monotonic()
    retry = fail(db, id, delay=0)
    follower.wait_for(3)
    succeed(db, retry)
    assert kinds(follower.result()) == ["enqueued", "started", "retried", "started", "completed"]
    assert time.monotonic() - started < 10


def test_a_run_that_has_ended_is_told_without_listening_or_marking(doors: Jobs, db: Database) -> None:
    id = succeed(db, doors.enqueue(ADD, (1,)).id)
    assert len(list(doors.events(id))) == 3
    assert listening(db) == []
    assert not is_followed(db, id)


def test_a_follower_that_is_closed_leaves_the_mark_alone(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,)).id
    checked_out = db.engine.pool.checkedout()  # type: ignore[attr-defined]
    stream = doors.events(id)
    next(stream)
    thread = threading.Timer(0.5, claim, (db, id))
    thread.start()
    next(stream)
    assert len(listening(db)) == 1
    stream.close()
    thread.join()
    wait_until(lambda: listening(db) == [], message="it still listens")
    assert is_followed(db, id)
    assert db.engine.pool.checkedout() == checked_out  # type: ignore[attr-defined]


def test_more_may_follow_than_the_pool_has_room_for(doors: Jobs, db: Database, follow: Follow) -> None:
    id = doors.enqueue(ADD, (1,)).id
    followers = [follow(id) for _ in range(30)]
    wait_until(lambda: len(listening(db)) == 30, message="not all listen")
    succeed(db, id)
    assert {tuple(kinds(follower.result())) for follower in followers} == {("enqueued", "started", "completed")}


def test_others_are_told_nothing(doors: Jobs, db: Database) -> None:
    one, other = (doors.enqueue(ADD, (n,)).id for n in range(2))
    marks.follow(db, one)
    marks.follow(db, other)
    listener = Listener(db, one)
    listener.wait(5)  # connects
    succeed(db, other)
    started = time.monotonic()
    listener.wait(0.5)
    assert time.monotonic() - started >= 0.5
    succeed(db, one)
    listener.wait(30)
    assert time.monotonic() - started < 20
    listener.close()


def test_what_nobody_follows_is_not_told(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,)).id
    listener = Listener(db, id)
    listener.wait(5)
    succeed(db, id)
    started = time.monotonic()
    listener.wait(0.5)
    assert time.monotonic() - started >= 0.5
    listener.close()


def test_a_retry_that_is_made_while_its_chain_is_marked_is_marked_too(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1,)).id
    running = claim(db, id)
    made: list[Any] = []

    def retry(connection: Any) -> None:
        made.append(chains._retry(db, running, FAILURE, chains.Next(delay=600), 5, connection))

    assert beside(db, retry, lambda: marks.follow(db, id))
    assert is_followed(db, made[0].job_id)
    assert is_followed(db, id)


def test_a_follower_whose_connection_breaks_connects_again_and_misses_nothing(
    doors: Jobs, db: Database, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "NET", 50.0)
    id = doors.enqueue(ADD, (1,)).id
    follower = followed(db, follow, id)
    (before,) = listening(db)
    with db.transaction() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": before})
    running = claim(db, id)
    follower.wait_for(2)
    wait_until(lambda: listening(db) not in ([], [before]), message="it does not listen again")
    assert running.id == id
    db.run(lambda connection: connection.execute(text("UPDATE jobs SET status = 'pending', worker = NULL")))
    succeed(db, id)
    assert kinds(follower.result())[-1] == "completed"


def test_a_database_that_may_not_be_written_is_looked_at(
    app: Celery, doors: Jobs, db: Database, broker_url: str, database_url: str
) -> None:
    id = doors.enqueue(ADD, (1,)).id
    name = make_url(database_url).database
    db.run(lambda connection: connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")))
    reader = declare(make_app(broker_url, database_url))
    follower = Follower(Jobs(reader), id, timeout=60)
    follower.wait_for(1)
    succeed(db, id)
    assert kinds(follower.result()) == ["enqueued", "started", "completed"]
    assert listening(db) == []
    assert not is_followed(db, id)
    reader.celery_jobs.db.dispose()
    reader.close()


@pytest.fixture
def fragile(broker_url: str, fragile_url: str) -> Iterator[Celery]:
    app = declare(make_app(broker_url, fragile_url, jobs_database_timeout=2))
    yield app
    app.celery_jobs.db.dispose()
    app.close()


def test_a_server_that_comes_back_is_followed_on(fragile: Celery, own_postgres: Postgres, database_url: str) -> None:
    doors, db = Jobs(fragile), fragile.celery_jobs.db
    id = doors.enqueue(ADD, (1,)).id
    follower = Follower(doors, id, timeout=120)
    follower.wait_for(1)
    wait_until(lambda: listening(db) != [], message="nobody listens")
    own_postgres.stop()
    time.sleep(1)
    own_postgres.start()
    succeed(db, id)
    assert kinds(follower.result()) == ["enqueued", "started", "completed"]


def test_a_server_that_stays_away_is_told(
    fragile: Celery, own_postgres: Postgres, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AWAY", 1.0)
    doors = Jobs(fragile)
    follower = Follower(doors, doors.enqueue(ADD, (1,)).id, timeout=120)
    follower.wait_for(1)
    own_postgres.stop()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        follower.result()
    with pytest.raises(StoreUnavailable):
        doors.events()
