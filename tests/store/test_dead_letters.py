from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from celery_jobs.errors import AlreadyReplayed, JobNotEnded, JobNotFound
from celery_jobs.ids import new_id
from celery_jobs.store import chains, endings, keys, reads
from celery_jobs.store.dead_letters import purge, sweep_dead_letters, sweep_history
from celery_jobs.store.enqueue import enqueue
from celery_jobs.store.tables import jobs, messages
from tests.store.conftest import (
    FAILURE,
    begin,
    claim,
    complete,
    count,
    dead_letter,
    new_job,
    new_message,
    race,
    replay,
    retry,
    shift,
    snapshot,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Enqueued

KEY = {"idempotency_scope": "shop", "idempotency_key": "order-1"}
DAY = 86_400


def _replay_of(original_id: str, **overrides: Any) -> Any:
    return new_job(replay_of=original_id, replay_reason="the bank is back", **overrides)


def _long_dead_letter(db: Database, **overrides: Any) -> str:
    """A dead letter of two attempts with a message each."""
    first = begin(db, **overrides)
    second = claim(db, retry(db, first, message=new_message()).job_id)
    chains.bury(db, second, FAILURE)
    return first.id


def test_a_replay_is_a_new_chain_and_the_entry_stays(db: Database) -> None:
    original = dead_letter(db)
    enqueued = replay(db, _replay_of(original))
    old, new = stored(db, original), stored(db, enqueued.job_id)
    assert (new.status, new.final_status, new.attempt_number, new.original_id) == ("pending", None, 1, new.id)
    assert (new.replay_of, new.replay_reason) == (original, "the bank is back")
    assert (new.sent_at, new.task_id) == (enqueued.sent_at, enqueued.task_id)
    assert new.sent_at is not None
    assert (old.final_status, old.replayed_as) == ("dead_lettered", new.id)
    assert None not in (old.replayed_at, old.dead_lettered_at)


@pytest.mark.parametrize("end", ["success", "failed_no_retries", "cancelled"])
def test_any_ended_run_can_be_replayed(db: Database, end: str) -> None:
    job_id = store(db, retries_enabled=end != "failed_no_retries")
    if end == "success":
        complete(db, job_id)
    elif end == "cancelled":
        endings.cancel(db, job_id)
    else:
        chains.bury(db, claim(db, job_id), FAILURE)
    replay(db, _replay_of(job_id))
    assert stored(db, job_id).final_status == end


def test_a_replay_takes_the_key_over(db: Database) -> None:
    original = dead_letter(db, **KEY)
    enqueued = replay(db, _replay_of(original, **KEY))
    assert stored(db, original).idempotency_key is None
    assert stored(db, enqueued.job_id).idempotency_key == "order-1"
    assert enqueue(db, new_job(**KEY)).job_id == enqueued.job_id


def test_a_replay_of_what_has_lost_its_key_meanwhile_is_no_other_job(db: Database) -> None:
    original = dead_letter(db, **KEY)
    prepared = _replay_of(original, **KEY)
    assert keys.release(db, KEY["idempotency_key"], KEY["idempotency_scope"]) == original
    other = store(db, **KEY)
    enqueued = replay(db, prepared)
    assert (enqueued.job_id, enqueued.deduplicated) == (prepared.id, False)
    assert stored(db, original).replayed_as == prepared.id
    assert (stored(db, prepared.id).idempotency_key, stored(db, other).idempotency_key) == (None, "order-1")


def test_a_second_replay_needs_force(db: Database) -> None:
    original = dead_letter(db)
    first = replay(db, _replay_of(original))
    before = snapshot(db)
    with pytest.raises(AlreadyReplayed, match=first.job_id):
        replay(db, _replay_of(original))
    assert snapshot(db) == before
    second = replay(db, _replay_of(original), force=True)
    assert stored(db, original).replayed_as == second.job_id


def test_a_replay_whose_reply_was_lost_is_still_ours(db: Database) -> None:
    new = _replay_of(dead_letter(db))
    first = replay(db, new)
    before = snapshot(db)
    assert replay(db, new).job_id == first.job_id
    assert snapshot(db) == before


def test_of_racing_replays_one_is_made(db: Database) -> None:
    original = dead_letter(db)

    def attempt() -> Enqueued | None:
        try:
            return replay(db, _replay_of(original))
        except AlreadyReplayed:
            return None

    made = [one for one in race(*[attempt] * 8) if one is not None]
    assert [one.job_id for one in made] == [stored(db, original).replayed_as]
    assert count(db, jobs) == 2


def test_what_has_not_ended_is_not_replayed(db: Database) -> None:
    waiting, running = store(db), begin(db)
    retried = begin(db)
    retry(db, retried)
    before = snapshot(db)
    for job_id in (waiting, running.id, retried.id):
        with pytest.raises(JobNotEnded, match=job_id):
            replay(db, _replay_of(job_id))
    with pytest.raises(JobNotFound):
        replay(db, _replay_of(new_id()))
    assert snapshot(db) == before


def test_a_replay_of_a_replay_points_at_it(db: Database) -> None:
    first = dead_letter(db)
    second = replay(db, _replay_of(first)).job_id
    chains.bury(db, claim(db, second), FAILURE)
    third = replay(db, _replay_of(second)).job_id
    assert (stored(db, third).replay_of, stored(db, second).replay_of) == (second, first)


def test_a_purge_deletes_the_chain_with_its_messages(db: Database) -> None:
    original, other = _long_dead_letter(db), _long_dead_letter(db)
    assert purge(db, [original]) == {original: 2}
    assert reads.attempts(db, original) == []
    assert len(reads.attempts(db, other)) == 2
    assert count(db, messages) == 2


def test_a_purged_entry_leaves_its_replay_alone(db: Database) -> None:
    original = dead_letter(db)
    enqueued = replay(db, _replay_of(original))
    purge(db, [original])
    assert stored(db, enqueued.job_id).replay_of == original
    assert reads.message_of(db, enqueued.job_id) is not None


def test_only_dead_letters_are_purged(db: Database) -> None:
    ids = [store(db), begin(db).id, complete(db, store(db))]
    off = begin(db, retries_enabled=False)
    chains.bury(db, off, FAILURE)
    before = snapshot(db)
    assert purge(db, [*ids, off.id, new_id()]) == {}
    assert snapshot(db) == before


def test_of_racing_purges_one_deletes(db: Database) -> None:
    original = _long_dead_letter(db)

    def attempt() -> int:
        return sum(purge(db, [original]).values())

    assert sorted(race(*[attempt] * 4)) == [0, 0, 0, 2]


def test_a_sweep_deletes_dead_letters_older_than_their_retention(db: Database) -> None:
    _long_dead_letter(db)
    shift(db, 10 * DAY)
    young = _long_dead_letter(db)
    shift(db, 4 * DAY + 60)
    assert sweep_dead_letters(db, "shop", 14, [], 100).chains == 1
    assert [row[0] for row in _originals(db)] == [young]
    assert count(db, messages) == 2


def _originals(db: Database) -> list[Any]:
    with db.reading() as connection:
        return list(connection.execute(select(jobs.c.id).where(jobs.c.attempt_number == 1)))


@pytest.mark.parametrize("sweep", [sweep_dead_letters, sweep_history])
def test_a_sweep_keeps_to_its_queue_and_to_its_batch(db: Database, sweep: Any) -> None:
    for queue in ("shop", "shop", "shop", "mail", "logs"):
        if sweep is sweep_dead_letters:
            dead_letter(db, queue=queue)
        else:
            complete(db, store(db, queue=queue))
    shift(db, 31 * DAY)
    assert [sweep(db, "shop", 30, [], 2).chains for _ in range(3)] == [2, 1, 0]
    assert sweep(db, None, 30, ["shop", "mail"], 10).chains == 1
    with db.reading() as connection:
        assert connection.execute(select(jobs.c.queue)).scalars().all() == ["mail"]
    assert count(db, messages) == 1


def test_concurrent_sweeps_delete_every_chain_once(db: Database) -> None:
    for _ in range(12):
        dead_letter(db)
    shift(db, 15 * DAY)
    swept = sum(one.chains for one in race(*[partial(sweep_dead_letters, db, None, 14, [], 5)] * 4))
    while more := sweep_dead_letters(db, None, 14, [], 5).chains:
        swept += more
    assert (swept, count(db, jobs), count(db, messages)) == (12, 0, 0)


def test_each_sweep_leaves_the_others_entries_and_what_lives(db: Database) -> None:
    dead, done = dead_letter(db), complete(db, store(db))
    retrying = begin(db)
    retry(db, retrying)
    store(db)
    shift(db, 100 * DAY)
    assert sweep_history(db, None, 30, [], 100).chains == 1
    assert done not in [row[0] for row in _originals(db)]
    assert sweep_dead_letters(db, None, 14, [], 100).chains == 1
    assert dead not in [row[0] for row in _originals(db)]
    assert count(db, jobs) == 3


def test_history_counts_from_the_end_of_the_chain(db: Database) -> None:
    first = begin(db)
    second = retry(db, first)
    shift(db, 31 * DAY)
    complete(db, second.job_id)
    assert sweep_history(db, None, 30, [], 100).chains == 0
    shift(db, 31 * DAY)
    assert sweep_history(db, None, 30, [], 100).chains == 1
    assert count(db, jobs) == count(db, messages) == 0


def test_history_that_celery_has_not_heard_is_kept(db: Database) -> None:
    job_id = store(db)
    endings.cancel(db, job_id)
    shift(db, 31 * DAY)
    assert sweep_history(db, None, 30, [], 100).chains == 0
    endings.mark_told(db, job_id)
    assert sweep_history(db, None, 30, [], 100).chains == 1
