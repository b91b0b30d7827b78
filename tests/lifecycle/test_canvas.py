"""Chains, groups, chords and links whose steps are jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from celery_jobs import JobNotFound
from tests.lifecycle.shop import UNSERVED
from tests.lifecycle.stories import verdicts
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.lifecycle.stories import Shop

RESOLVED = [("failed", "success"), ("completed", "success")]
AT_ONCE = [("completed", "success")]


def assert_chord_failed(result: Any, cause: str) -> None:
    """The body's own result is a failure that names its cause; `get` may raise the member's error first."""
    wait_until(result.failed, 30, lambda: f"the chord's body is {result.state}")
    assert isinstance(result.result, ChordError)
    assert cause in str(result.result)


def test_a_chain_goes_on_after_a_step_that_needed_a_retry(shop: Shop) -> None:
    add, later = shop.task("add"), shop.task("works_on_attempt")
    result = chain(add.s(1, 1), later.s(5), add.s(1)).apply_async()
    assert result.get(timeout=40) == 6
    rows = shop.ended(result.parent)
    assert len(rows) == 2
    assert verdicts(rows) == RESOLVED
    assert verdicts(shop.ended(result.parent.parent)) == AT_ONCE
    assert verdicts(shop.ended(result)) == AT_ONCE


def test_a_chain_ends_where_a_step_is_dead_lettered(shop: Shop) -> None:
    result = chain(shop.task("fails").si().set(max_attempts=1), shop.task("add").si(1, 2)).apply_async()
    with pytest.raises(ValueError, match="attempt 1 fails"):
        result.get(timeout=40)
    assert verdicts(shop.ended(result.parent)) == [("failed", "dead_lettered")]
    with pytest.raises(JobNotFound):
        shop.jobs.get(result.id)


def test_a_frozen_chord_that_is_applied_again_runs_again_and_so_does_its_body(shop: Shop) -> None:
    # Celery forgets that a chord is done when it sends its last member: one that has ended by then is not counted.
    members = [shop.task("add").s(*numbers).set(countdown=1) for numbers in ((1, 2), (3, 4))]
    canvas = chord(members, shop.task("total").s())
    canvas.freeze()
    for reuse in (0, 1):
        result = canvas.apply_async()
        body = shop.wait(result, lambda rows, reuse=reuse: rows[0].reuse == reuse and rows[0].ended_at is not None)
        assert verdicts(body) == AT_ONCE
        assert [shop.original(member).reuse for member in result.parent.children] == [reuse] * 2
        # The last member forgets what its chord has counted after it has sent the body: the next chord's, if it may.
        wait_until(partial(_has_forgotten, shop, result.parent.id))


def _has_forgotten(shop: Shop, group_id: str) -> bool:
    return not shop.app.backend.client.keys(shop.app.backend.get_key_for_group(group_id, ".[jst]"))


def test_a_group_waits_for_its_retries(shop: Shop) -> None:
    later = shop.task("works_on_attempt")
    result = group(later.s(1, 10), later.s(2, 20), later.s(3, 30)).apply_async()
    assert result.get(timeout=40) == [10, 20, 30]
    assert [len(shop.ended(member)) for member in result.children] == [1, 2, 3]


def test_a_chord_member_that_works_after_retries_completes_its_chord(shop: Shop) -> None:
    header = [shop.task("add").s(1, 2), shop.task("works_on_attempt").s(3, 4)]
    result = chord(header)(shop.task("total").s())
    assert result.get(timeout=40) == 7
    assert verdicts(shop.ended(result)) == AT_ONCE
    quick, slow = result.parent.children
    assert verdicts(shop.ended(quick)) == AT_ONCE
    assert [row.attempt_number for row in shop.ended(slow)] == [1, 2, 3]


def test_a_chord_member_that_is_dead_lettered_fails_its_chord(shop: Shop) -> None:
    header = [shop.task("add").s(1, 2), shop.task("fails").s().set(retry_delays=[0.1])]
    result = chord(header)(shop.task("total").s())
    assert_chord_failed(result, "attempt 2 fails")
    failed = result.parent.children[1]
    assert verdicts(shop.ended(failed)) == [("failed", "dead_lettered"), ("failed", "failed_with_retries")]
    with pytest.raises(JobNotFound):
        shop.jobs.get(result.id)


def test_a_chord_member_that_is_cancelled_fails_its_chord(shop: Shop) -> None:
    header = [shop.task("add").s(1, 2), shop.task("add").s(1, 2).set(queue=UNSERVED)]
    result = chord(header)(shop.task("total").s())
    served, unserved = result.parent.children
    shop.ended(served)
    shop.jobs.cancel(unserved.id)
    assert_chord_failed(result, "TaskRevokedError")


def test_a_link_runs_once_after_the_attempt_that_works(shop: Shop) -> None:
    file = shop.new_file()
    result = shop.enqueue("works_on_attempt", 2, link=shop.task("note").s(str(file)))
    assert result.get(timeout=40) == 42
    shop.wait_for_text(file, "42")
    assert verdicts(shop.ended(result)) == RESOLVED
    (child,) = result.children
    assert verdicts(shop.ended(child)) == AT_ONCE
    assert file.read_text().splitlines() == ["42"]


def test_an_errback_runs_once_when_the_chain_is_dead_lettered(shop: Shop) -> None:
    file = shop.new_file()
    errback = shop.task("note_failure").s(file=str(file))
    result = shop.enqueue("fails", retry_delays=[0.1, 0.1], link_error=errback)
    shop.ended(result)
    shop.wait_for_text(file, "ValueError: attempt 3 fails")
    assert file.read_text().splitlines() == ["ValueError: attempt 3 fails"]


def test_an_errback_runs_once_at_a_hard_time_limit(shop: Shop) -> None:
    file = shop.new_file()
    errback = shop.task("note_failure").s(file=str(file))
    result = shop.enqueue("hangs", max_attempts=1, time_limit=1, link_error=errback)
    shop.ended(result)
    shop.wait_for_text(file, "TimeLimitExceeded")
    assert len(file.read_text().splitlines()) == 1
