"""The stream of all runs of a filter: what is enqueued and what ends from now on, once, in the order of its time."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from celery_jobs.store import news, reads
from tests.follow.conftest import Follower, kinds
from tests.jobs.conftest import ADD, BOOM, bury, fail, succeed
from tests.store.conftest import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs import Jobs, RunEvent
    from celery_jobs.store.db import Database

    Follow = Callable[..., Follower]


def told(events: list[RunEvent]) -> list[tuple[str, str]]:
    return [(kind, event.original_id) for kind, event in zip(kinds(events), events, strict=True)]


def test_what_is_enqueued_and_what_ends_is_told(doors: Jobs, db: Database, follow: Follow) -> None:
    before = doors.enqueue(ADD, (0,)).id
    follower = follow()
    one, other = doors.enqueue(ADD, (1,)).id, doors.enqueue(BOOM, (2,), tags=["vip"]).id
    succeed(db, before)
    retry = fail(db, one, delay=0)
    succeed(db, retry)
    bury(db, other)
    events = follower.wait_for(5)
    assert told(events) == [
        ("enqueued", one),
        ("enqueued", other),
        ("completed", before),
        ("completed", one),
        ("dead_lettered", other),
    ]
    assert [event.attempt_number for event in events] == [1, 1, 1, 2, 1]
    assert events[-1].details["error"] == "ValueError: card declined"
    assert [event.at for event in events] == sorted(event.at for event in events)


@pytest.mark.parametrize("where", [{"queue": "other"}, {"task": BOOM}, {"tag": "vip"}, {"tag": ["vip", "eu"]}], ids=str)
def test_a_filter_chooses(doors: Jobs, db: Database, follow: Follow, where: dict[str, Any]) -> None:
    follower = follow(**where)
    doors.enqueue(ADD, (1,), tags=["eu"])
    meant = doors.enqueue(BOOM, (1,), queue="other", tags=["vip", "eu"]).id
    succeed(db, meant)
    assert told(follower.wait_for(2)) == [("enqueued", meant), ("completed", meant)]


def test_a_timeout_ends_the_stream(doors: Jobs) -> None:
    started = time.monotonic()
    assert list(doors.events(queue="none", timeout=0.4)) == []
    assert 0.4 <= time.monotonic() - started < 5


def test_it_can_be_closed(doors: Jobs) -> None:
    stream = doors.events(timeout=30)
    doors.enqueue(ADD, (1,))
    assert kinds([next(stream)]) == ["enqueued"]
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)


@pytest.mark.parametrize("cursor", ["", "x", "1.2.3", "9" * 18 + ".0." + "0" * 32], ids=repr)
def test_a_cursor_of_something_else_is_refused(doors: Jobs, cursor: str) -> None:
    with pytest.raises(ValueError, match="since"):
        doors.events(since=cursor)


def test_who_goes_on_with_a_cursor_misses_nothing_and_gets_nothing_twice(doors: Jobs, db: Database) -> None:
    """Whatever is written meanwhile, by many at once."""
    stream = doors.events(timeout=60)
    made: list[str] = []

    def produce(seed: int) -> None:
        for n in range(12):
            id = doors.enqueue(ADD, (seed, n)).id
            made.append(id)
            if n % 2:
                succeed(db, id)

    with ThreadPoolExecutor(4) as pool:
        for seed in range(4):
            pool.submit(produce, seed)
        events: list[RunEvent] = []
        chance = random.Random(7)
        while len(events) < 72:
            events.append(next(stream))
            if chance.random() < 0.3:
                stream.close()
                stream = doors.events(since=events[-1].cursor, timeout=60)
    stream.close()
    assert len(set(told(events))) == 72
    assert {id for kind, id in told(events) if kind == "enqueued"} == set(made)
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_many_happen_at_the_same_moment(doors: Jobs, db: Database) -> None:
    ids = [doors.enqueue(ADD, (n,)).id for n in range(3)]
    moment = doors.get(ids[0]).created_at
    for id in ids:
        change(db, id, created_at=moment)
    time.sleep(news.SETTLING)
    events = list(doors.events(since=f"{_microseconds(moment) - 1}.0.{'0' * 32}", timeout=1))
    assert told(events) == [("enqueued", id) for id in sorted(ids)]
    for place, event in enumerate(events):
        assert list(doors.events(since=event.cursor, timeout=0)) == events[place + 1 :]


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def test_what_lies_far_back_is_read_in_slices(doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    slices: list[timedelta] = []
    between = news.between

    def noting(db: Database, which: Any, after: Any, until: Any) -> Any:
        slices.append(until - after)
        return between(db, which, after, until)

    monkeypatch.setattr(news, "between", noting)
    id = doors.enqueue(ADD, (1,)).id
    succeed(db, id)
    now = reads.database_time(db)
    change(db, id, ended_at=now - timedelta(seconds=100))
    since = f"{_microseconds(now - timedelta(seconds=140))}.0.{'0' * 32}"
    time.sleep(news.SETTLING)
    assert told(list(doors.events(since=since, timeout=0))) == [("completed", id), ("enqueued", id)]
    assert len(slices) == 5
    assert max(slices) <= timedelta(seconds=30)


@pytest.fixture
def session(db: Database) -> Iterator[Session]:
    engine = create_engine(db.url)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_a_long_transaction_makes_is_not_missed(
    doors: Jobs, db: Database, follow: Follow, session: Session
) -> None:
    """The stream does not go on past the beginning of a transaction that is at work."""
    follower = follow()
    first = doors.enqueue(ADD, (1,), session=session).id
    second = doors.enqueue(ADD, (2,)).id
    time.sleep(2.5)
    assert follower.told == []
    session.commit()
    assert told(follower.wait_for(2)) == [("enqueued", first), ("enqueued", second)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_transaction_that_takes_too_long_is_not_waited_for(
    doors: Jobs, db: Database, follow: Follow, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "LONGEST_SETTLING", 1.5)
    session.execute(text("CREATE TABLE work (id int)"))
    follower = follow()
    id = doors.enqueue(ADD, (1,)).id
    assert told(follower.wait_for(1)) == [("enqueued", id)]
