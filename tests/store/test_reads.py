from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.ids import new_id
from celery_jobs.states import FinalStatus, Status
from celery_jobs.store import chains, endings, looks, reads
from celery_jobs.store.attempts import complete as complete_claim
from celery_jobs.store.enqueue import enqueue
from celery_jobs.store.filters import Filter
from celery_jobs.store.reads import find_original
from tests.store.conftest import (
    FAILURE,
    QUEUE,
    begin,
    claim,
    complete,
    dead_letter,
    new_job,
    replay,
    retry,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database


def _listed(db: Database, limit: int = 100, before: str | None = None, **which: Any) -> list[str]:
    return [chain[0].id for chain in reads.runs(db, Filter(**which), limit, before).chains]


def test_a_chain_is_found_by_any_of_its_ids(db: Database) -> None:
    first = begin(db, task_id="order-7")
    second = retry(db, first)
    for id in (first.id, first.id.upper(), second.job_id, "order-7"):
        assert find_original(db, id) == first.id
    assert find_original(db, new_id()) is None
    assert find_original(db, "order-8") is None


def test_a_task_id_that_looks_like_a_job_id_is_found(db: Database) -> None:
    task_id = new_id()
    job_id = store(db, task_id=task_id)
    assert find_original(db, task_id) == job_id


@pytest.mark.parametrize("id", ["order\x007", "order\ud800", "", "x" * 10_000])
def test_an_id_that_no_job_can_have_finds_nothing(db: Database, id: str) -> None:
    assert find_original(db, id) is None


def test_a_task_id_stands_for_its_newest_chain(db: Database) -> None:
    for _ in range(3):
        newest = complete(db, store(db, task_id="order-7"))
    assert find_original(db, "order-7") == newest


def test_a_replacement_is_the_newest_chain_of_its_task_id(db: Database) -> None:
    replaced = begin(db, task_id="order-7")
    replacement = enqueue(db, new_job(task_id="order-7", nesting=1)).job_id
    complete_claim(db, replaced, None, 5, replaced_by=replacement)
    assert find_original(db, "order-7") == replacement


def test_a_task_id_used_again_after_a_replacement_stands_for_the_newest_chain(db: Database) -> None:
    complete(db, store(db, task_id="order-7"))
    complete(db, store(db, task_id="order-7", nesting=1))
    newest = store(db, task_id="order-7")
    assert find_original(db, "order-7") == newest


def test_a_later_retry_does_not_make_an_older_chain_the_newest(db: Database) -> None:
    older = begin(db, task_id="order-7")
    newest = store(db, task_id="order-7", nesting=1)
    retry(db, older)
    assert find_original(db, "order-7") == newest


def test_attempts_come_in_order(db: Database) -> None:
    job = begin(db)
    original = job.id
    for _ in range(3):
        job = claim(db, retry(db, job).job_id)
    rows = reads.attempts(db, original)
    assert [row.attempt_number for row in rows] == [1, 2, 3, 4]
    assert {row.original_id for row in rows} == {original}
    assert rows[-1] == stored(db, job.id)
    assert reads.attempts(db, new_id()) == []


def test_runs_come_newest_first_each_with_all_its_attempts(db: Database) -> None:
    first = begin(db)
    second = store(db)
    later = retry(db, first)
    chains_ = reads.runs(db, Filter(), 10).chains
    assert [[job.id for job in chain] for chain in chains_] == [[second], [first.id, later.job_id]]


def test_pages_follow_each_other_without_gap_or_repetition(db: Database) -> None:
    ids = [store(db) for _ in range(7)]
    pages = []
    before: str | None = None
    while page := _listed(db, limit=3, before=before):
        pages.append(page)
        before = page[-1]
        store(db)  # a newcomer belongs to the first page and shifts nothing
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [id for page in pages for id in page] == ids[::-1]


def test_runs_are_filtered_by_queue_and_task(db: Database) -> None:
    shop, mail = store(db, queue="shop"), store(db, queue="mail", task="mail.send")
    assert _listed(db, queue="mail") == _listed(db, task="mail.send") == [mail]
    assert _listed(db, queue="shop") == [shop]
    assert _listed(db, queue="shop", task="mail.send") == []


@pytest.fixture
def states(db: Database) -> dict[str, str]:
    """A run in each state, by name."""
    found = {"waiting": store(db), "running": begin(db).id, "done": complete(db, store(db))}
    retried, cancelled, off = begin(db), begin(db), begin(db, retries_enabled=False)
    retry(db, retried)
    retry(db, cancelled)
    endings.cancel(db, cancelled.id)
    chains.bury(db, off, FAILURE)
    saved = begin(db)
    complete(db, retry(db, saved).job_id)
    return {
        **found,
        "retrying": retried.id,
        "cancelled": cancelled.id,
        "off": off.id,
        "dead": dead_letter(db),
        "saved": saved.id,
    }


@pytest.mark.parametrize(
    ("status", "names"),
    [
        ("pending", ["waiting", "retrying"]),
        ("PENDING", ["waiting", "retrying"]),
        ("processing", ["running"]),
        ("completed", ["done", "saved"]),
        ("success", ["done", "saved"]),
        ("failed", ["off", "dead"]),
        ("retrying", ["retrying"]),
        ("cancelled", ["cancelled"]),
        ("failed_no_retries", ["off"]),
        ("dead_lettered", ["dead"]),
        ("deadletter", ["dead"]),
        ("DEAD", ["dead"]),
    ],
)
def test_runs_are_filtered_by_the_state_of_their_latest_attempt_or_their_verdict(
    db: Database, states: dict[str, str], status: str, names: list[str]
) -> None:
    assert sorted(_listed(db, status=status)) == sorted(states[name] for name in names)


def test_an_unknown_state_is_refused(db: Database) -> None:
    with pytest.raises(ValueError, match="unknown state 'lost'"):
        reads.runs(db, Filter(status="lost"), 10)


def test_the_message_of_a_job_is_found(db: Database) -> None:
    new = new_job()
    enqueue(db, new)
    assert reads.message_of(db, new.id) == new.message
    assert reads.message_of(db, new_id()) is None


def test_a_claim_is_found_while_it_stands(db: Database) -> None:
    job = begin(db)
    assert reads.claim_of(db, job.id, job.lease_token) == job
    assert reads.claim_of(db, job.id, new_id()) is None
    complete_claim(db, job, None, 5)
    assert reads.claim_of(db, job.id, job.lease_token) is None


def test_untold_verdicts_come_oldest_first(db: Database) -> None:
    ids = [store(db) for _ in range(3)]
    for job_id in ids:
        endings.cancel(db, job_id)
    assert reads.untold(db, 2) == ids[:2]


def _one_of_each(db: Database) -> list[str]:
    """Runs in every state, among them a replay and one that is at its second attempt; their ids, oldest first."""
    retried, retrying = begin(db), begin(db, queue="mail")
    complete(db, retry(db, retried).job_id)
    retry(db, retrying, delay=60)
    dead = dead_letter(db, queue="mail")
    again = replay(db, new_job(replay_of=dead)).job_id
    cancelled = store(db)
    endings.cancel(db, cancelled)
    others = [store(db, delay=600), complete(db, store(db)), begin(db).id, dead_letter(db), store(db, queue="mail")]
    return sorted([retried.id, retrying.id, dead, again, cancelled, *others])


def _filters(ids: list[str], dead: str) -> list[dict[str, Any]]:
    states = [*Status, *FinalStatus]
    one: list[dict[str, Any]] = [
        {"original": ids[2]},
        {"replay_of": dead},
        {"queue": "mail"},
        {"task": "none"},
        {"attempts": 2},
        {"ended": False},
    ]
    return [{}, *one, *({"status": str(state)} for state in states), {"status": "DEAD", "queue": "mail"}]


def test_short_looks_find_what_a_long_one_finds(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = _one_of_each(db)
    (dead,) = _listed(db, status="DEAD", queue="mail")
    filters = _filters(ids, dead)
    whole = [_listed(db, **which) for which in filters]
    assert sorted(whole[0]) == ids
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 1)
    monkeypatch.setattr(looks, "LOOKED_AT", 2)
    monkeypatch.setattr(reads, "COUNTED", 3)
    for which, expected in zip(filters, whole, strict=True):
        assert _walked(db, Filter(**which)) == expected
        assert reads.count(db, Filter(**which)) == (len(expected), expected[0] if expected else None)
        assert _upwards(db, Filter(**which), ids[-1]) == expected[::-1]


def _walked(db: Database, which: Filter) -> list[str]:
    ids, found = list[str](), reads.runs(db, which, 3)
    while True:
        assert found.partial == (len(found.chains) < 3 and found.cursor is not None)
        ids += [chain[0].id for chain in found.chains]
        if found.cursor is None:
            return ids
        found = reads.runs(db, which, 3, found.cursor)


def _upwards(db: Database, which: Filter, until: str) -> list[str]:
    ids, (some, reached) = list[str](), reads.originals(db, which, 3, None, until)
    while reached is not None:
        ids += some
        some, reached = reads.originals(db, which, 3, reached, until)
    return ids + some


def test_a_page_of_what_is_not_among_the_newest_is_partial(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rare, *others = [store(db, queue=queue) for queue in ("rare", *[QUEUE] * 5)]
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 2)
    monkeypatch.setattr(looks, "LOOKED_AT", 4)
    first = reads.runs(db, Filter(queue="rare"), 10)
    assert (first.chains, first.cursor, first.partial) == ([], others[1], True)
    second = reads.runs(db, Filter(queue="rare"), 10, first.cursor)
    assert ([chain[0].id for chain in second.chains], second.cursor, second.partial) == ([rare], None, False)
