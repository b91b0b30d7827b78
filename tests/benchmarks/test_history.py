from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from benchmarks import history
from benchmarks.stage import dsn_of, query
from celery_jobs.store import invariants
from celery_jobs.store.db import Database
from celery_jobs.store.tables import jobs, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 3_000
UNTIL = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIXES = [history.EVERYDAY, history.OLD, history.DEAD, history.DELAYED]
CHECKSUM = "SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {} t"


@pytest.fixture
def url(new_postgresql_database: Callable[[], str]) -> str:
    return new_postgresql_database()


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.dispose()


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_the_rows_keep_the_invariants_and_every_job_has_its_message(url: str, db: Database, mix: history.Mix) -> None:
    history.fill(dsn_of(url), ROWS, 1, mix)
    assert invariants.check(db) == []
    assert query(url, "SELECT count(*) FROM jobs") == [(ROWS,)]
    assert query(url, "SELECT count(*) FROM jobs j LEFT JOIN messages m ON m.id = message_id WHERE m.id IS NULL") == [
        (0,)
    ]


def test_the_same_seed_and_moment_give_the_same_rows_and_another_seed_others(url: str) -> None:
    def made(seed: int) -> list[object]:
        history.fill(dsn_of(url), ROWS, seed, until=UNTIL)
        return [query(url, CHECKSUM.format(table.name)) for table in (jobs, messages)]

    first = made(1)
    assert made(1) == first
    assert made(2) != first


def test_the_everyday_mix_has_every_verdict_and_all_indexes_are_back(url: str) -> None:
    indexes = "SELECT indexdef FROM pg_indexes WHERE tablename IN ('jobs', 'messages') ORDER BY indexname"
    before = query(url, indexes)
    history.fill(dsn_of(url), ROWS, 1)
    assert query(url, indexes) == before
    verdicts = {row[0] for row in query(url, "SELECT DISTINCT final_status FROM jobs WHERE attempt_number = 1")}
    assert verdicts == {None, "success", "retrying", "dead_lettered", "failed_no_retries", "cancelled"}


def test_rows_that_are_added_can_be_told_from_the_history_by_their_ids(url: str, db: Database) -> None:
    history.fill(dsn_of(url), ROWS, 1, until=UNTIL)
    history.add(dsn_of(url), 100, 1, history.DEAD, until=UNTIL)
    assert invariants.check(db) == []
    since = {"since": history.first_id(UNTIL - timedelta(hours=1))}
    newer = query(url, "SELECT DISTINCT queue, count(*) FROM jobs WHERE id >= %(since)s GROUP BY queue", since)
    assert newer == [(history.DEAD.queue, 100)]
    assert query(url, "SELECT count(*) FROM messages WHERE id >= %(since)s", since) == [(100,)]
