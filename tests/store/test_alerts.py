"""Each dead letter is in one report, those that follow soon in one together, whoever dies while sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from celery_jobs.settings import ALERT_HORIZON
from celery_jobs.store import alerts, chains
from celery_jobs.store.rows import Failure
from celery_jobs.store.tables import jobs
from tests.store.conftest import RACERS, begin, change, dead_letter, race, shift, store, stored

if TYPE_CHECKING:
    from celery_jobs.store.alerts import Report
    from celery_jobs.store.db import Database

LEASE, WINDOW = 120.0, 300.0


def take(db: Database, queue: str = "shop") -> Report:
    report = alerts.take(db, queue, LEASE)
    assert report is not None
    return report


def test_the_first_is_told_at_once_and_those_of_the_window_together_at_its_end(db: Database) -> None:
    assert alerts.due(db) == []
    first = dead_letter(db)
    assert alerts.due(db) == ["shop"]
    report = take(db)
    assert (report.count, report.tries, report.more) == (1, 1, False)
    assert [cause.job_id for cause in report.causes] == [first]
    assert stored(db, first).alerted_at is not None
    assert alerts.settle(db, report, WINDOW)
    later = [dead_letter(db) for _ in range(3)]
    assert alerts.due(db) == []
    assert alerts.take(db, "shop", LEASE) is None
    assert stored(db, later[0]).alerted_at is None
    shift(db, WINDOW + 1)
    assert alerts.due(db) == ["shop"]
    report = take(db)
    assert (report.count, report.causes[0].count, report.causes[0].job_id) == (3, 3, later[0])
    assert alerts.settle(db, report, WINDOW)
    shift(db, WINDOW + 1)
    assert alerts.due(db) == []
    assert alerts.take(db, "shop", LEASE) is None


def test_queues_have_windows_of_their_own(db: Database) -> None:
    for queue in ("a", "b", "c"):
        dead_letter(db, queue=queue)
    assert alerts.due(db) == ["a", "b", "c"]
    assert alerts.settle(db, take(db, "a"), WINDOW)
    assert alerts.due(db) == ["b", "c"]
    dead_letter(db, queue="a")
    assert alerts.due(db) == ["b", "c"]
    assert take(db, "b").count == 1
    assert alerts.due(db) == ["c"]


def test_who_asks_names_the_queues_or_those_that_are_left_out(db: Database) -> None:
    for queue in ("a", "b"):
        dead_letter(db, queue=queue)
    assert alerts.again(db, take(db, "a"), 0)
    assert alerts.due(db) == ["a", "b"]
    assert alerts.due(db, None, ["a"]) == ["b"]
    assert alerts.due(db, ["a", "nobody's"]) == ["a"]
    assert alerts.due(db, []) == []
    assert alerts.due(db, since=60) == []
    shift(db, 61)
    assert alerts.due(db, since=60) == ["a", "b"]


def test_what_somebody_holds_is_told_of_the_next_time(db: Database) -> None:
    held = dead_letter(db)
    shift(db, 3600)
    free = dead_letter(db)
    if db.is_sqlite:  # which lets nobody else in
        return
    with db.transaction() as connection:
        connection.execute(select(jobs.c.id).where(jobs.c.id == held).with_for_update()).one()
        report = take(db)
    assert [cause.job_id for cause in report.causes] == [free]
    assert alerts.settle(db, report, WINDOW)
    shift(db, WINDOW + 1)
    assert alerts.due(db) == ["shop"]
    assert take(db).causes[0].job_id == held


def test_only_dead_letters_are_told_of(db: Database) -> None:
    store(db)
    begin(db)
    chains.bury(db, begin(db, retries_enabled=False), Failure("exception", "ValueError", "no"))
    assert alerts.due(db) == []


def test_one_of_many_workers_takes_a_report(db: Database) -> None:
    dead_letter(db)
    taken = race(*[lambda: alerts.take(db, "shop", LEASE) for _ in range(RACERS)])
    assert len([report for report in taken if report is not None]) == 1


def test_a_senders_death_loses_nothing_and_a_late_sender_is_fenced(db: Database) -> None:
    dead_letter(db)
    lost = take(db)
    dead_letter(db)
    assert alerts.take(db, "shop", LEASE) is None
    shift(db, LEASE + 1)
    assert alerts.due(db) == ["shop"]
    report = take(db)
    assert (report.count, report.tries) == (2, 2)
    assert not alerts.settle(db, lost, WINDOW)
    assert not alerts.again(db, lost, 30)
    assert alerts.extend(db, lost, LEASE) is None
    assert alerts.settle(db, report, WINDOW)


def test_what_reached_nobody_is_sent_again_with_what_has_died_since(db: Database) -> None:
    dead_letter(db)
    assert alerts.again(db, take(db), 30)
    assert alerts.due(db) == []
    dead_letter(db)
    shift(db, 31)
    assert alerts.due(db) == ["shop"]
    report = take(db)
    assert (report.count, report.tries) == (2, 2)
    assert alerts.failing(db, 2) == [("shop", 2)]
    assert alerts.failing(db, 3) == []
    assert alerts.settle(db, report, WINDOW)
    assert alerts.failing(db, 1) == []
    shift(db, WINDOW + 1)
    dead_letter(db)
    assert take(db).tries == 1


def test_a_storm_is_gathered_in_parts(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MOST_MARKED", 3)
    dead = [dead_letter(db) for _ in range(8)]
    report = take(db)
    assert (report.count, report.more) == (3, True)
    report = alerts.extend(db, report, LEASE) or pytest.fail("it was ours")
    assert (report.count, report.more) == (6, True)
    report = alerts.extend(db, report, LEASE) or pytest.fail("it was ours")
    assert (report.count, report.more, report.causes[0].job_id) == (8, False, dead[0])
    assert all(stored(db, job_id).alerted_at for job_id in dead)


def test_a_report_names_the_first_kinds_and_counts_the_others(db: Database) -> None:
    for number in range(alerts.MOST_CAUSES + 2):
        job = begin(db, task=f"task-{number}")
        chains.bury(db, job, Failure("exception", "ValueError", "x" * 1000))
    report = take(db)
    assert (report.count, len(report.causes)) == (alerts.MOST_CAUSES + 2, alerts.MOST_CAUSES)
    assert [cause.task for cause in report.causes[:2]] == ["task-0", "task-1"]
    assert all(len(cause.error_message or "") <= alerts.MOST_WORDS_BYTES for cause in report.causes)


def test_what_died_a_day_ago_is_no_news(db: Database) -> None:
    dead_letter(db)
    shift(db, ALERT_HORIZON + 1)
    assert alerts.due(db) == []
    fresh = dead_letter(db)
    assert [cause.job_id for cause in take(db).causes] == [fresh]


def test_what_commits_late_is_told_of_all_the_same(db: Database) -> None:
    assert alerts.settle(db, dead_and_taken(db), WINDOW)
    late = dead_letter(db)
    shift(db, WINDOW + 1)
    change(db, late, dead_lettered_at=stored(db, late).created_at)
    assert [cause.job_id for cause in take(db).causes] == [late]


def dead_and_taken(db: Database) -> Report:
    dead_letter(db)
    return take(db)


def test_the_deaths_of_the_last_hour_are_counted_up_to_a_bound(db: Database) -> None:
    for _ in range(3):
        dead_letter(db)
    shift(db, 3601)
    for _ in range(3):
        dead_letter(db)
    dead_letter(db, queue="other")
    assert alerts.deaths(db, "shop", 3600, 10) == 3
    assert alerts.deaths(db, "shop", 3600, 2) == 2
