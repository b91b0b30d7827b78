"""A take whose commit happened and whose reply was lost is repeated, and gives what it had taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.store import sends
from tests.store.conftest import QUEUE, claim, shift, store, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Outgoing

    Take = tuple[Callable[[list[str]], list[Outgoing]], list[str]]


def due(db: Database, job_ids: list[str]) -> list[Outgoing]:
    return sends.take_due(db, QUEUE, 75, 1000)


def by_id(db: Database, job_ids: list[str]) -> list[Outgoing]:
    return sends.take_now(db, job_ids)


def overdue(db: Database, job_ids: list[str]) -> list[Outgoing]:
    return sends.take_overdue(db, QUEUE, 120, 20, 1000)


def fire(db: Database, job_ids: list[str]) -> list[Outgoing]:
    return sends.fire(db, job_ids)[1]


TAKES: dict[str, tuple[Callable[[Database, list[str]], list[Outgoing]], bool]] = {
    "due": (due, False),
    "by id": (by_id, False),
    "overdue": (overdue, True),
    "fire": (fire, False),
}


@pytest.fixture(params=TAKES)
def take(request: pytest.FixtureRequest, db: Database) -> Take:
    """A way to take jobs for sending, and three jobs to be taken in this way."""
    act, sent = TAKES[request.param]
    job_ids = [store(db, send=sent) for _ in range(3)]
    shift(db, 1000)
    return lambda ids: act(db, ids), job_ids


def lose_the_reply(
    db: Database, patch: pytest.MonkeyPatch, between: Callable[[], object] = lambda: None, committed: bool = True
) -> None:
    """The next transaction is committed (or not), something happens, and it is repeated."""
    run = db.run

    def twice(transition: Any, **options: Any) -> Any:
        patch.undo()
        if committed:
            run(transition)
        else:
            with db.transaction() as connection:
                transition(connection)
                connection.rollback()
        between()
        return run(transition, **options)

    patch.setattr(db, "run", twice)


def test_it_gives_what_it_had_taken(db: Database, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    act, job_ids = take
    before = stored(db, job_ids[0]).send_count
    lose_the_reply(db, monkeypatch)
    taken = act(job_ids)
    assert sorted(job.job_id for job in taken) == sorted(job_ids)
    for job in taken:
        row = stored(db, job.job_id)
        assert (row.sent_at, row.send_count) == (job.sent_at, before + 1)
    assert act(job_ids) == []


def test_it_takes_them_where_the_commit_had_not_happened(
    db: Database, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, job_ids = take
    before = stored(db, job_ids[0]).send_count
    lose_the_reply(db, monkeypatch, committed=False)
    assert sorted(job.job_id for job in act(job_ids)) == sorted(job_ids)
    assert {stored(db, job_id).send_count for job_id in job_ids} == {before + 1}


def test_it_leaves_out_what_somebody_has_begun_or_sent_in_between(
    db: Database, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, job_ids = take
    begun, sent, left = job_ids

    def others() -> None:
        claim(db, begun)
        taken = next(iter(sends.fetch(db, [sent])))
        sends.mark_unsent(db, [(sent, taken.sent_at)])
        assert len(sends.take_now(db, [sent])) == 1

    lose_the_reply(db, monkeypatch, others)
    assert [job.job_id for job in act(job_ids)] == [left]
    assert stored(db, begun).status == "processing"
