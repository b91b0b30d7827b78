"""What the queries of hot path, services and pages read on PostgreSQL: by which index, and how many rows.

Sequential scans are made dear: each query is then read by the index that it would use among ten million rows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from celery_jobs.ids import new_id
from celery_jobs.settings import QueueSettings
from celery_jobs.store import (
    alerts,
    attempts,
    audit,
    callbacks,
    chains,
    dead_letters,
    endings,
    enqueue,
    figures,
    following,
    health,
    invariants,
    limited_claims,
    limits,
    looks,
    news,
    outside,
    reads,
    schedules,
    sends,
    stats,
    tokens,
    vitals,
    waiting_for,
    workers,
)
from celery_jobs.store.db import Database
from celery_jobs.store.filters import Filter
from tests.processes import wait_until
from tests.servers.round_trips import round_trips
from tests.store.conftest import FAILURE, LEASE, begin, claim, complete, new_job, store
from tests.store.plans import (
    DEAD,
    DUE,
    EXPIRED,
    FIRST,
    LONELY,
    OWES,
    REPLAYS,
    TAGGED,
    UNTOLD,
    Rehearsal,
    fill,
    number,
    reading,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.store.rows import Claim
    from tests.servers.databases import Databases

FIRST_LOOKED_AT, LOOKED_AT = 50, 200
SENT = FIRST["claimed"] - FIRST["sent"]
CLAIMED = FIRST["pulled"] - FIRST["claimed"] + FIRST["end"] - FIRST["running"]
LEASED = FIRST["limited"] - FIRST["leased"]
CLAIMS = 40
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def full(postgres: Databases, postgresql_template: str) -> Iterator[Rehearsal]:
    """Thousands of jobs, in which whatever is done is undone."""
    name = f"jobs_plans_{new_id().replace('-', '')}"
    url = postgres.create_database(name, postgresql_template)
    fill(url)
    db = Rehearsal(url, timeout=20)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET enable_seqscan = off"))
    db.dispose()
    yield db
    db.dispose()
    postgres.drop_database(name)


def test_what_was_made_for_these_tests_keeps_the_rules(full: Rehearsal) -> None:
    assert invariants.check(full) == []


def _claim(db: Database) -> Claim:
    found = reads.claim_of(db, number(FIRST["claimed"]), number(FIRST["claimed"]))
    assert found is not None
    return found


def _unlimited(queue: str) -> QueueSettings:
    return QueueSettings()


def _claim_limited(db: Database, n: int, wins: bool) -> None:
    winner = {"worker": LONELY, "lease_token": new_id(), "lease": LEASE, "edition": 0}
    answer = limited_claims.claim(db, number(n), _unlimited, winner, 75).answer
    assert getattr(answer, "reason", "won") == ("won" if wins else "waiting")


def _wake(db: Database, name: str, turns: int) -> None:
    assert len(limits.wake(db, limits.Limit(name, None), 75)) == turns


EVEN, ODD = FIRST["limited"] + 5001, FIRST["limited"]
"""One that waits for a key without a place, and the first of those that wait for one with a place."""

WAITING, OLD = number(FIRST["sent"] + 100), number(40)
ONE = {"jobs_pkey"}
CHAIN = {"jobs_pkey", "jobs_attempts"}

Query = tuple["Callable[[Database], Any]", set[str], int]

QUERIES: dict[str, Query] = {
    # The hot path: a job is read by its id, and read once.
    "enqueue": (lambda db: enqueue.enqueue(db, new_job()), set(), 0),
    "claim": (lambda db: attempts.claim(db, WAITING, LONELY, new_id(), LEASE), ONE, 1),
    "complete": (lambda db: attempts.complete(db, _claim(db), None, 1), ONE, 2),
    "retry": (lambda db: chains.retry(db, _claim(db), FAILURE, chains.Next(60)), ONE, 8),
    "bury": (lambda db: chains.bury(db, _claim(db), FAILURE), ONE, 6),
    "holds_lease": (lambda db: attempts.holds_lease(db, WAITING, LONELY), ONE, 1),
    "hold": (lambda db: sends.hold(db, WAITING), ONE, 1),
    "lose": (lambda db: endings.lose(db, number(FIRST["claimed"]), 3, worker=LONELY), ONE, 4),
    "cancel": (lambda db: endings.cancel(db, WAITING), CHAIN, 10),
    # Outside workers: what they get, however much of any priority is not due.
    "claim outside": (lambda db: outside.claim(db, "pull", "painter", 5, 30), {"jobs_to_pull"}, 2 * LEASED + 4 * DUE),
    "leases of a queue": (lambda db: outside.leases_run_out(db, "pull", 100), {"jobs_leased"}, LEASED),
    "heartbeat outside": (lambda db: outside.keep(db, WAITING, "painter", 30), ONE, 1),
    # The services: what they give, whatever else waits or has ended.
    "unsent_queues": (lambda db: sends.unsent_queues(db, 75), {"jobs_to_send"}, 20),
    "take_due": (lambda db: sends.take_due(db, "later", 75, 1000), {"jobs_to_send"}, 4 * DUE + 10),
    # Ten thousand wait for one key: who claims, ends, promotes or wakes reads the first of them.
    "limits to wake": (lambda db: waiting_for.limits_to_wake(db, _unlimited), {"jobs_limited"}, 10),
    "wake in vain": (lambda db: _wake(db, "key:full", 0), {"jobs_limited", "jobs_woken"}, 2 * limits.LOOKED_AT),
    "wake": (lambda db: _wake(db, "key:roomy", 1), {"jobs_limited", "jobs_woken"}, 2 * limits.LOOKED_AT),
    "claim in vain": (lambda db: _claim_limited(db, EVEN, False), {"jobs_pkey"}, 10),
    "claim with a key": (lambda db: _claim_limited(db, ODD, True), {"jobs_limited"}, 2 * limits.LOOKED_AT),
    "overdue_queues": (lambda db: sends.overdue_queues(db, 120), {"jobs_live"}, 40),
    "take_overdue": (lambda db: sends.take_overdue(db, "q1", 120, 20, 10), {"jobs_live"}, SENT // 4 + 60),
    "waiting_sent": (lambda db: sends.waiting_sent(db, "q1", 20), {"jobs_live"}, SENT // 4),
    "unended": (lambda db: stats.unended(db, "q1", 20), {"jobs_live"}, SENT // 4),
    "expired": (lambda db: sends.expired(db, 100), {"jobs_expiring"}, EXPIRED),
    "in_broker": (lambda db: sends.in_broker(db, "q1"), {"jobs_live"}, SENT // 4),
    "running": (lambda db: workers.running(db, LONELY, 100), {"jobs_live"}, SENT + CLAIMED + DUE + LEASED),
    "leases_run_out": (lambda db: workers.leases_run_out(db, 100), {"jobs_live"}, SENT + CLAIMED + DUE + LEASED),
    "terminating": (lambda db: workers.terminating(db, LONELY), {"jobs_terminating"}, 0),
    "is_cancel_requested": (lambda db: attempts.is_cancel_requested(db, WAITING, 60), ONE, 1),
    "forget": (lambda db: workers.forget(db, LONELY), {"jobs_live"}, SENT + 3 * CLAIMED + DUE + LEASED),
    "schedules": (lambda db: schedules.soon(db, 10), {"schedules_due"}, 0),
    "untold": (lambda db: reads.untold(db, 100), {"jobs_untold"}, UNTOLD),
    "callbacks": (lambda db: callbacks.unsent(db, 100), {"jobs_callbacks"}, OWES),
    "callbacks overdue": (lambda db: callbacks.overdue(db, 300), {"jobs_callbacks"}, OWES),
    "alerts due": (alerts.due, {"jobs_unalerted"}, 20),
    "an alert": (lambda db: alerts.take(db, "q1", 60), {"jobs_unalerted"}, 2 * DEAD // 4),
    "deaths": (lambda db: alerts.deaths(db, "q1", 300, 100), {"jobs_dead"}, 0),
    "a sweep": (lambda db: dead_letters.sweep_history(db, None, 30, [], 10), {"jobs_ended"}, 80),
    "a sweep of dead letters": (
        lambda db: dead_letters.sweep_dead_letters(db, None, 14, [], 10),
        {"jobs_pkey"},
        2 * DEAD,
    ),
    "a sweep past others": (
        lambda db: dead_letters.sweep_history(db, "none", 1, [], 10),
        {"jobs_ended"},
        2 * LOOKED_AT,
    ),
    # The doctor, and counts.
    "unserved": (lambda db: health.unserved(db, ["later", "pull", *(f"q{n}" for n in range(5))]), {"jobs_live"}, 20),
    "used_up": (lambda db: health.used_up(db, 20), {"jobs_live"}, SENT + CLAIMED),
    "held_by_dead": (health.held_by_dead, {"jobs_live"}, SENT + CLAIMED + DUE + LEASED),
    "untold for long": (lambda db: health.untold(db, 300), {"jobs_untold"}, UNTOLD),
    "queues": (
        lambda db: stats.queue_stats(db, 60),
        {"jobs_live", "jobs_ended"},
        FIRST["end"] - FIRST["delayed"] + 2 * DEAD,
    ),
    "error_groups": (lambda db: stats.error_groups(db, 20), set(), DEAD),
    # Runs by their ids.
    "get": (lambda db: reads.attempts(db, OLD), CHAIN, 4),
    "find": (lambda db: reads.find_original(db, OLD), ONE, 1),
    "find by task id": (lambda db: reads.find_original(db, "order-7"), {"jobs_chain"}, 0),
    # Followers.
    "a followed run": (lambda db: following.read(db, OLD), CHAIN, 4),
    "a mark": (lambda db: following.follow(db, OLD), CHAIN, 6),
    "replays": (lambda db: following._replays(db, number(1)), {"jobs_replays"}, REPLAYS),
    "news": (
        lambda db: news.between(db, Filter(queue="q1"), NOW - timedelta(seconds=30), NOW),
        {"jobs_pkey", "jobs_ended"},
        60,
    ),
    # The pages of the dashboard, and its figures.
    "the last hour": (lambda db: vitals.ended(db, 60), {"jobs_ended"}, 60),
    "its times": (lambda db: vitals.sample(db, 60), {"jobs_ended"}, 60),
    "ended chains": (
        lambda db: figures.ended_chains(db, (NOW - timedelta(days=60), number(0)), NOW, 10),
        {"jobs_ended", *CHAIN},
        60,
    ),
    "acts": (lambda db: audit.read(db, 50, new_id(), {}), {"audit_pkey"}, 0),
    "old acts": (lambda db: audit.sweep(db, 30, 500), {"audit_pkey"}, 0),
    "a token": (lambda db: tokens.find(db, "nobody"), {"tokens_prefix_key"}, 0),
    "find a beginning": (lambda db: reads.with_prefix(db, "0000", 5), ONE, LOOKED_AT),
}

LIMIT = 25
PAGE = 3 * (LIMIT + 1)
"""Rows that a full page reads: those that it finds, and each again with its chain's others."""

BOUND = FIRST_LOOKED_AT + 2 * LOOKED_AT
"""Rows that a page without anything to find reads, its cursor included."""

PAGES: dict[str, tuple[dict[str, Any], set[str], int]] = {
    "all": ({}, ONE, PAGE),
    "queue": ({"queue": "later"}, ONE, BOUND),
    "final_status": ({"final_status": "success"}, ONE, BOUND),
    "original": ({"original": OLD}, ONE, 6),
    "replay_of": ({"replay_of": number(1)}, {"jobs_replays"}, 5 * REPLAYS),
    "a tag of few": ({"tag": "customer:42"}, {"jobs_tags"}, 4 * TAGGED),
    "several tags": ({"tag": ["42", "eu"], "status": "DEAD"}, {"jobs_tags"}, 4 * TAGGED),
    "a tag of nobody": ({"tag": "none"}, {"jobs_tags"}, 0),
    "dead": ({"status": "DEAD"}, {"jobs_letters"}, PAGE),
    "dead of a queue": (
        {"final_status": "dead_lettered", "queue": "rare"},
        {"jobs_letters_of"},
        FIRST_LOOKED_AT + PAGE,
    ),
    "dead of a task": ({"status": "DEAD", "task": "shop.t3"}, set(), BOUND + PAGE),
    "dead with an error": ({"status": "DEAD", "error": "no such text"}, set(), BOUND),
    "dead since": ({"dead_lettered_after": NOW}, {"jobs_letters"}, BOUND),
    "processing": ({"status": "processing"}, ONE, 6 * LOOKED_AT),
    **{
        " ".join(where): (where, ONE, BOUND + PAGE)
        for where in (
            {"task": "none"},
            {"tag": "import"},
            {"error": "no such text"},
            {"attempts": 9},
            {"created_after": NOW},
            {"created_before": NOW - timedelta(days=90)},
        )
    },
}


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded ends early."""
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", FIRST_LOOKED_AT)
    monkeypatch.setattr(looks, "LOOKED_AT", LOOKED_AT)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_reads_what_it_gives_by_its_index(full: Rehearsal, name: str) -> None:
    act, indexes, most = QUERIES[name]
    _expect(full, partial(act, full), indexes, most)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_a_bounded_number_of_rows(full: Rehearsal, name: str) -> None:
    where, indexes, most = PAGES[name]
    _expect(full, lambda: reads.runs(full, Filter(**where), LIMIT), indexes, most)


LIVE = ("waiting_sent", "running", "leases_run_out", "forget", "used_up", "held_by_dead", "queues", "error_groups")


@pytest.mark.parametrize("name", LIVE)
def test_what_the_planner_would_read_the_table_for_is_read_by_index(full: Rehearsal, name: str) -> None:
    assert reading(full, partial(QUERIES[name][0], full)).by_index


@pytest.mark.parametrize("where", [{"status": "pending"}, {"status": "processing"}, {"ended": False}], ids=str)
def test_so_is_a_page_of_what_is_live(full: Rehearsal, where: dict[str, Any]) -> None:
    assert reading(full, lambda: reads.runs(full, Filter(**where), LIMIT)).by_index


def _expect(db: Database, act: Callable[[], Any], indexes: set[str], most: int) -> None:
    found = reading(db, act)
    assert found.scans == []
    assert indexes <= found.indexes, found
    assert found.rows <= most, found


def test_each_step_of_the_hot_path_is_one_statement_that_commits_by_itself(
    new_postgresql_database: Callable[[], str],
) -> None:
    db = Database(new_postgresql_database(), timeout=20)
    complete(db, store(db))  # connected, and prepared
    with round_trips(db) as said:
        job_id = store(db)
        assert attempts.complete(db, claim(db, job_id), None, 1)
    assert said == ["(prepared)"] * 3
    db.dispose()


def test_a_claim_touches_no_index(new_postgresql_database: Callable[[], str]) -> None:
    """It changes nothing that an index names, so PostgreSQL writes the row's new version into its page and no more."""
    db = Database(new_postgresql_database(), timeout=20)
    for _ in range(CLAIMS):
        begin(db, tags=["vip"])
    db.dispose()  # a session tells what it did at its end
    query = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'")

    def counted() -> tuple[int, int]:
        with db.engine.connect() as connection:
            return tuple(connection.execute(query).one())

    wait_until(lambda: counted()[0] == CLAIMS, message="the claims are not counted")
    assert counted()[1] >= 0.9 * CLAIMS
    db.dispose()
