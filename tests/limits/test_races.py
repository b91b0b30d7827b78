"""Fifty claimers, and never more at once than a limit says: by the database's own times of starts and ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.store import limited_claims, pauses
from celery_jobs.store.limits import room_for
from celery_jobs.store.rows import Claim
from tests.limits.conftest import ON_SQLITE, overlap, rest

if TYPE_CHECKING:
    from celery_jobs.store.limits import Room
    from tests.limits.conftest import Floor

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
CLAIMERS, FEWER = 50, 8


def _run(floor: Floor, ids: list[str], claimers: int, queues: list[str], seconds: float = 0.004) -> list[object]:
    floor.crowd(claimers, len(ids), queues, lambda: rest(seconds))
    rows = [floor.job(job_id) for job_id in ids]
    assert {row.status for row in rows} == {"completed"}
    assert {(row.attempt_number, row.losses) for row in rows} == {(1, 0)}
    assert {row.waits_for for row in rows} == {None}
    assert pauses.running(floor.plugin.db, queues[0]) == 0
    return list(rows)


@ON_POSTGRESQL
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_fifty_claimers_never_run_more_of_a_key_than_its_limit(floor: Floor, limit: int) -> None:
    floor.plugin.db.make_room(CLAIMERS + 5)
    ids = floor.enqueue(60, concurrency_key="customer", concurrency_limit=limit)
    rows = _run(floor, ids, CLAIMERS, ["celery"], 0.02 * limit)
    assert overlap(rows) == limit
    # One message of the enqueue, one when its turn comes, and few that come in vain.
    assert floor.taken <= 3 * len(ids)


@ON_SQLITE
def test_claimers_never_run_more_of_a_key_than_its_limit_on_sqlite(floor: Floor) -> None:
    ids = floor.enqueue(12, concurrency_key="customer", concurrency_limit=2)
    assert overlap(_run(floor, ids, FEWER, ["celery"])) <= 2


@ON_POSTGRESQL
@pytest.mark.parametrize("locked", [True, False], ids=["with the lock", "without it"])
def test_what_keeps_two_from_judging_at_once_is_the_lock(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """Two that each look before the other has written both start; the lock lets only one look."""
    both_have_looked = threading.Barrier(2)

    def look_then_wait(*judged: Any) -> Room:
        room = room_for(*judged)
        with suppress(threading.BrokenBarrierError):  # alone: the other one waits for the lock
            both_have_looked.wait(timeout=1)
        return room

    monkeypatch.setattr(limited_claims, "room_for", look_then_wait)
    if not locked:
        monkeypatch.setattr(limited_claims, "lock", lambda *_: True)
    ids = floor.enqueue(2, concurrency_key="customer", concurrency_limit=1)
    with ThreadPoolExecutor(2) as claimers:
        claimed = list(claimers.map(floor.claim, ids))
    started = [answer for answer in claimed if isinstance(answer, Claim)]
    for claim in started:
        floor.finish(claim)
    assert both_have_looked.broken is locked
    assert len(started) == (1 if locked else 2)
