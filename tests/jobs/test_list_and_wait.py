"""list: keyset pages, whole and without repetition; wait: the end, or an error in time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import JobNotFound, Jobs, Page, WaitTimeout
from celery_jobs.store import looks
from tests.apps import working
from tests.jobs.conftest import ADD, BOOM, dead, fail, succeed

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database


def made(doors: Jobs, number: int, **options: Any) -> list[str]:
    return [str(outcome.job_id) for outcome in doors.enqueue_many([{"task": ADD, "args": [1]}] * number, **options)]


def pages(doors: Jobs, limit: int, meanwhile: Any = lambda: None, **where: Any) -> list[Page]:
    found = [doors.list(limit=limit, **where)]
    while found[-1].cursor is not None:
        meanwhile()
        found.append(doors.list(limit=limit, cursor=found[-1].cursor, **where))
    return found


def test_an_empty_database_has_one_empty_page(doors: Jobs) -> None:
    page = doors.list()
    assert (page.runs, page.cursor, len(page), list(page)) == ((), None, 0, [])


def test_pages_are_whole_and_without_repetition_while_jobs_arrive_and_end(doors: Jobs, db: Database) -> None:
    ids = made(doors, 11)
    waiting = iter(ids)

    def meanwhile() -> None:
        made(doors, 3)
        succeed(db, next(waiting))

    found = pages(doors, 4, meanwhile)
    assert [len(page) for page in found] == [4, 4, 3]
    assert [run.id for page in found for run in page] == ids[::-1]


def test_a_full_last_page_has_no_cursor(doors: Jobs) -> None:
    ids = made(doors, 6)
    assert [[run.id for run in page] for page in pages(doors, 3)] == [ids[5:2:-1], ids[2::-1]]


def test_a_page_ends_early_where_no_more_is_among_so_many_jobs(doors: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    (rare,) = made(doors, 1, queue="rare")
    made(doors, 7)
    assert [(list(page), page.partial) for page in pages(doors, 5, task="none")] == [([], False)]
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 1)
    monkeypatch.setattr(looks, "LOOKED_AT", 3)
    found = pages(doors, 5, queue="rare")
    assert [page.partial for page in found] == [True, True, False]
    assert [run.id for page in found for run in page] == [rare]
    assert found[0].to_json() == {"runs": [], "cursor": found[0].cursor, "partial": True}


def test_bulk_verbs_go_on_where_a_look_has_ended(doors: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(doors, 2, queue="rare")
    made(doors, 7)
    last = made(doors, 2, queue="rare")
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 1)
    monkeypatch.setattr(looks, "LOOKED_AT", 3)
    preview = doors.preview("cancel", queue="rare")
    assert (preview.matched, [run.id for run in preview.sample]) == (4, [*first, *last])
    assert doors.cancel_many(queue="rare").done == doors.count(status="cancelled") == 4


def test_filtered_pages_hold_what_the_filter_means(doors: Jobs) -> None:
    ids = made(doors, 3, queue="a")
    made(doors, 4, queue="b")
    ids += made(doors, 2, queue="a")
    assert [run.id for page in pages(doors, 2, queue="a") for run in page] == ids[::-1]


def test_runs_come_with_every_attempt(doors: Jobs, db: Database) -> None:
    (id,) = made(doors, 1)
    retry = fail(db, id)
    (run,) = doors.list()
    assert [job.id for job in run.attempts] == [id, retry]
    assert run == doors.get(id)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, "10", 1.5, None])
def test_a_limit_is_from_1_to_1_000(doors: Jobs, limit: Any) -> None:
    with pytest.raises(ValueError, match=r"limit must be from 1 to 1,000"):
        doors.list(limit=limit)


def test_the_bounds_of_a_limit_are_taken(doors: Jobs) -> None:
    made(doors, 2)
    assert (len(doors.list(limit=1)), len(doors.list(limit=1000))) == (1, 2)


@pytest.mark.parametrize("cursor", ["order-7", "", "'; DROP TABLE jobs; --", "\x00", 7])
def test_a_cursor_that_is_none_is_refused(doors: Jobs, cursor: Any) -> None:
    with pytest.raises(ValueError, match="cursor"):
        doors.list(cursor=cursor)


def test_a_cursor_is_understood_in_any_spelling(doors: Jobs) -> None:
    ids = made(doors, 3)
    for spelling in (ids[1].upper(), f"urn:uuid:{ids[1]}"):
        assert [run.id for run in doors.list(cursor=spelling)] == [ids[0]]


def test_a_wrong_field_is_refused_with_its_name(doors: Jobs) -> None:
    with pytest.raises(ValueError, match=r"^attempts: "):
        doors.list(attempts=0)
    with pytest.raises(TypeError, match="queu"):
        doors.list(queu="celery")  # type: ignore[call-arg]


def test_a_count_is_that_of_the_list(doors: Jobs, db: Database) -> None:
    made(doors, 3)
    dead(doors, db)
    assert (doors.count(), doors.count(status="pending"), doors.count(status="DEAD")) == (4, 3, 1)


# wait


def test_a_wait_returns_the_ended_run(doors: Jobs, app: Celery) -> None:
    good, bad = doors.enqueue(ADD, (1, 2)), doors.enqueue(BOOM, retry_delays=[0.05])
    with working(app):
        assert doors.wait(good.id, 40).result == 3
        run = doors.wait(bad.id, 40)
    assert (run.final_status, run.attempt_number, run.error_message) == ("dead_lettered", 2, "boom")


def test_a_wait_for_what_has_ended_returns_at_once(doors: Jobs, db: Database) -> None:
    (id,) = made(doors, 1)
    succeed(db, id)
    started = time.monotonic()
    assert doors.wait(id, 0).has_ended
    assert doors.wait(id).has_ended
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("timeout", [0, 0.3, -1])
def test_a_wait_ends_in_time(doors: Jobs, timeout: float) -> None:
    (id,) = made(doors, 1)
    started = time.monotonic()
    with pytest.raises(WaitTimeout, match=f"{id} is still pending"):
        doors.wait(id, timeout)
    assert max(0, timeout) <= time.monotonic() - started < timeout + 2
    with pytest.raises(TimeoutError):
        doors.wait(id, 0)


def test_a_wait_says_what_a_chain_is_at(doors: Jobs, db: Database) -> None:
    (id,) = made(doors, 1)
    fail(db, id)
    with pytest.raises(WaitTimeout, match="retrying"):
        doors.wait(id, 0)


def test_a_wait_without_a_timeout_waits_for_the_end(doors: Jobs, db: Database) -> None:
    (id,) = made(doors, 1)
    thread = threading.Timer(0.2, succeed, (db, id))
    thread.start()
    assert doors.wait(id).final_status == "success"
    thread.join()


def test_a_run_that_is_deleted_while_it_is_waited_for_is_not_found(doors: Jobs) -> None:
    (id,) = made(doors, 1)
    thread = threading.Timer(0.2, doors.delete, (id,))
    thread.start()
    with pytest.raises((JobNotFound, AssertionError)):
        assert not doors.wait(id, 40).has_ended  # cancelled at first, then gone
    thread.join()
