"""Counts for people, on a mix that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.store import chains, endings, stats
from celery_jobs.store.rows import Failure
from celery_jobs.store.stats import ErrorGroup, QueueStats, error_groups, queue_stats
from tests.store.conftest import (
    FAILURE,
    begin,
    change,
    claim,
    complete,
    dead_letter,
    pause,
    retry,
    shift,
    store,
    stored,
)

if TYPE_CHECKING:
    import pytest

    from celery_jobs.store.db import Database


def dead_of(db: Database, task: str, error_type: str, message: str) -> str:
    job = begin(db, task=task)
    chains.bury(db, job, Failure("exception", error_type, message, None))
    return job.id


def test_an_empty_database_has_no_queues_but_the_known_ones(db: Database) -> None:
    assert queue_stats(db, 3600) == []
    assert queue_stats(db, 3600, ["mail", "shop"]) == [QueueStats("mail"), QueueStats("shop")]
    assert error_groups(db, 10) == []


def test_each_queue_is_counted_by_what_its_jobs_are_at(db: Database) -> None:
    oldest = store(db)
    shift(db, 60)
    store(db)
    store(db, delay=600)
    for delay in (0.0, 600.0):
        retry(db, begin(db), delay=delay)
    begin(db)
    complete(db, store(db))
    dead_letter(db)
    chains.bury(db, begin(db, retries_enabled=False), FAILURE)
    endings.cancel(db, store(db))
    store(db, queue="mail")
    mail, shop = queue_stats(db, 3600)
    assert (mail.queue, mail.waiting, mail.scheduled, mail.ended) == ("mail", 1, 0, 0)
    assert (shop.waiting, shop.scheduled, shop.retrying, shop.processing) == (3, 2, 1, 1)
    assert shop.dead_lettered == 1
    ended = (shop.ended_success, shop.ended_dead_lettered, shop.ended_failed_no_retries, shop.ended_cancelled)
    assert (ended, shop.ended) == ((1, 1, 1, 1), 4)
    assert shop.oldest_waiting_at == stored(db, oldest).scheduled_at
    assert (shop.paused_at, mail.paused_at) == (None, None)


def test_a_chain_that_ended_after_retries_counts_once(db: Database) -> None:
    complete(db, retry(db, begin(db)).job_id)
    chains.bury(db, claim(db, retry(db, begin(db)).job_id), FAILURE)
    (shop,) = queue_stats(db, 3600)
    assert (shop.ended_success, shop.ended_dead_lettered, shop.ended) == (1, 1, 2)
    assert (shop.waiting, shop.scheduled, shop.processing) == (0, 0, 0)


def test_what_ended_before_the_window_is_not_counted_and_dead_letters_stay(db: Database) -> None:
    complete(db, store(db))
    dead_letter(db)
    shift(db, 3601)
    (shop,) = queue_stats(db, 3600)
    assert (shop.dead_lettered, shop.ended) == (1, 0)
    assert queue_stats(db, 7200)[0].ended == 2


def test_a_pause_is_shown_while_it_lasts(db: Database) -> None:
    pause(db)
    pause(db, "mail", seconds=60)
    mail, shop = queue_stats(db, 3600)
    assert shop.paused_at is not None
    assert (shop.paused_until, mail.paused_until is None) == (None, False)
    shift(db, 61)
    assert [queue.queue for queue in queue_stats(db, 3600)] == ["shop"]


def test_dead_letters_are_grouped_by_task_and_error_the_most_frequent_first(db: Database) -> None:
    first = dead_of(db, "charge", "ValueError", "a")
    shift(db, 60)
    last = dead_of(db, "charge", "ValueError", "b")
    dead_of(db, "charge", "KeyError", "c")
    dead_of(db, "mail", "ValueError", "d")
    for _ in range(3):
        dead_of(db, "mail", "shop.Lost", "e")
    complete(db, store(db))
    chains.bury(db, begin(db, retries_enabled=False), FAILURE)
    groups = error_groups(db, 10)
    named = [(group.task, group.error_type, group.count) for group in groups]
    assert named[:2] == [("mail", "shop.Lost", 3), ("charge", "ValueError", 2)]
    assert named[2:] == [("charge", "KeyError", 1), ("mail", "ValueError", 1)]
    assert groups[1].error_message in ("a", "b")
    assert (groups[1].first_at, groups[1].last_at) == (
        stored(db, first).dead_lettered_at,
        stored(db, last).dead_lettered_at,
    )
    assert error_groups(db, 2) == groups[:2]


def test_only_the_newest_dead_letters_are_grouped(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in ("Old", "New", "Newer"):
        dead_of(db, "mail", error, "x")
    monkeypatch.setattr(stats, "MOST_GROUPED", 2)
    assert {group.error_type for group in error_groups(db, 10)} == {"New", "Newer"}


def test_a_group_is_of_what_the_chain_died_of_last(db: Database) -> None:
    job = begin(db)
    chains.bury(db, claim(db, retry(db, job).job_id), Failure("exception", "KeyError", "last", None))
    (group,) = error_groups(db, 10)
    assert (group.error_type, group.error_message, group.count) == ("KeyError", "last", 1)


def test_requests_that_failed_are_grouped_by_the_reason_of_their_last_attempt(db: Database) -> None:
    kind = "celery_jobs.errors.HttpFailed"
    for reason in ("timeout", "http_server_error", "timeout"):
        chains.bury(db, begin(db, task="http"), Failure(reason, kind, "no", None))
    job = begin(db, task="http")
    retried = chains.retry(db, job, Failure("http_server_error", kind, "no", None), chains.Next(delay=0))
    assert isinstance(retried, chains.Retried)
    chains.bury(db, claim(db, retried.job_id), Failure("timeout", kind, "late", None))
    groups = error_groups(db, 10)
    assert [(group.error_type, group.failure_reason, group.count) for group in groups] == [
        (kind, "timeout", 3),
        (kind, "http_server_error", 1),
    ]


def test_other_errors_are_one_group_whatever_the_reason(db: Database) -> None:
    for reason in ("exception", "no_retry"):
        chains.bury(db, begin(db), Failure(reason, "ValueError", "no", None))
    (group,) = error_groups(db, 10)
    assert (group.error_type, group.failure_reason, group.count) == ("ValueError", None, 2)


def test_equal_groups_come_in_one_order(db: Database) -> None:
    for error_type in ("C", "A", "B"):
        dead_of(db, "charge", error_type, "x")
    assert [group.error_type for group in error_groups(db, 10)] == ["A", "B", "C"]
    assert [group.error_type for group in error_groups(db, 2)] == ["A", "B"]


def test_a_group_without_an_error_type_is_a_group(db: Database) -> None:
    job_id = dead_letter(db)
    change(db, job_id, error_type=None, last_error_type=None, error_message=None, last_error_message=None)
    died = stored(db, job_id).dead_lettered_at
    assert died is not None
    assert error_groups(db, 10) == [ErrorGroup("shop.charge", None, None, None, 1, died, died)]
