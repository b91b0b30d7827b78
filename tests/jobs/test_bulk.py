"""Many runs at once: by ids or by filter, dry or real, at a rate, stopped and gone on, and never anything twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs, Progress
from celery_jobs import bulk as bulk_module
from celery_jobs.store import reads
from celery_jobs.store.tables import messages
from tests.jobs.conftest import (
    ADD,
    BOOM,
    Broker,
    bury,
    claim,
    count,
    dead,
    fail,
    many_dead,
    pause,
    snapshot,
    succeed,
)
from tests.store.conftest import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs import BulkResult
    from celery_jobs.store.db import Database

BULK = ["replay_many", "cancel_many", "fire_many", "purge_many", "delete_many"]


@pytest.fixture
def mixed(doors: Jobs, db: Database) -> dict[str, str]:
    """A run of each kind, in the queue `mixed`, by name; in order of their age."""
    made = {name: doors.enqueue(ADD, (1, 2), queue="mixed").id for name in ("waiting", "running", "done", "dead")}
    made["held"] = doors.enqueue(ADD, (1, 2), queue="mixed", delay=3600).id
    made["retrying"] = doors.enqueue(ADD, (1, 2), queue="mixed").id
    made["cancelled"] = doors.enqueue(ADD, (1, 2), queue="mixed").id
    claim(db, made["running"])
    succeed(db, made["done"])
    bury(db, made["dead"])
    fail(db, made["retrying"])
    doors.cancel(made["cancelled"])
    return made


EXPECTED: dict[str, tuple[set[str], dict[str, set[str]]]] = {
    "replay_many": (
        {"done", "dead", "cancelled"},
        {"job_not_ended": {"waiting", "running", "held", "retrying"}},
    ),
    "cancel_many": (
        {"waiting", "running", "held", "retrying", "cancelled"},
        {"job_ended": {"done", "dead"}},
    ),
    "fire_many": (
        {"waiting", "held", "retrying"},
        {"job_running": {"running"}, "job_ended": {"done", "dead", "cancelled"}},
    ),
    "purge_many": (
        {"dead"},
        {"not_dead_lettered": {"waiting", "running", "done", "held", "retrying", "cancelled"}},
    ),
    "delete_many": (
        {"waiting", "done", "held", "retrying", "cancelled"},
        {"job_running": {"running"}, "job_dead_lettered": {"dead"}},
    ),
}


def named(mixed: dict[str, str], result: BulkResult) -> dict[str, set[str]]:
    names = {id: name for name, id in mixed.items()}
    return {why: {names.get(id, id) for id in ids} for why, ids in result.skipped.items()}


@pytest.mark.parametrize("verb", BULK)
def test_by_ids_each_run_is_done_or_skipped_for_its_reason(doors: Jobs, mixed: dict[str, str], verb: str) -> None:
    done, skipped = EXPECTED[verb]
    result = getattr(doors, verb)(mixed.values())
    assert (result.verb, result.matched, result.done) == (verb.removesuffix("_many"), 7, len(done))
    assert named(mixed, result) == skipped
    assert (result.skipped_count, result.stopped, result.cursor, result.dry_run) == (7 - len(done), False, None, False)


@pytest.mark.parametrize("verb", BULK)
@pytest.mark.parametrize("by", ["ids", "filter"])
def test_a_dry_run_changes_nothing_and_counts_what_the_real_run_counts(
    doors: Jobs, db: Database, mixed: dict[str, str], broker: Broker, app: Celery, verb: str, by: str
) -> None:
    how: dict[str, Any] = {"ids": [*mixed.values(), "unknown"]} if by == "ids" else {"queue": "mixed"}
    before = (snapshot(db), broker.jobs("mixed"), sorted(broker.client.keys("celery-task-meta-*")))
    dry = getattr(doors, verb)(**how, dry_run=True)
    assert (snapshot(db), broker.jobs("mixed"), sorted(broker.client.keys("celery-task-meta-*"))) == before
    real = getattr(doors, verb)(**how)
    assert dry.dry_run
    assert (dry.matched, dry.done, dry.skipped) == (real.matched, real.done, real.skipped)


MEANT = {
    "replay_many": {"dead"},
    "cancel_many": {"waiting", "running", "held", "retrying"},
    "fire_many": {"waiting", "held", "retrying"},
    "purge_many": {"dead"},
}


@pytest.mark.parametrize("verb", MEANT)
def test_a_filter_without_states_means_what_the_verb_is_for(doors: Jobs, mixed: dict[str, str], verb: str) -> None:
    result = getattr(doors, verb)(queue="mixed")
    assert (result.matched, result.done, result.skipped) == (len(MEANT[verb]), len(MEANT[verb]), {})


def test_a_delete_by_filter_leaves_dead_letters_and_what_runs(doors: Jobs, mixed: dict[str, str]) -> None:
    result = doors.delete_many(queue="mixed")
    assert named(mixed, result) == {"job_running": {"running"}, "job_dead_lettered": {"dead"}}
    assert {run.id for run in doors.list(queue="mixed")} == {mixed["running"], mixed["dead"]}


def test_a_filter_with_a_state_means_that_state(doors: Jobs, mixed: dict[str, str]) -> None:
    assert doors.replay_many(queue="mixed", status="success", dry_run=True).done == 1
    assert doors.delete_many(queue="mixed", status="pending", dry_run=True).done == 3
    assert doors.cancel_many(queue="mixed", final_status="retrying", dry_run=True).done == 1
    assert doors.purge_many(queue="mixed", status="pending", dry_run=True).skipped.keys() == {"not_dead_lettered"}


def test_a_cancel_of_what_has_ended_cancels_nothing_else(doors: Jobs, mixed: dict[str, str], db: Database) -> None:
    before = snapshot(db)
    result = doors.cancel_many(queue="mixed", ended=True)
    assert named(mixed, result) == {"job_ended": {"done", "dead"}}
    assert snapshot(db) == before


def test_a_replay_by_filter_without_a_status_means_dead_letters_alone(doors: Jobs, mixed: dict[str, str]) -> None:
    assert doors.replay_many(queue="mixed", ended=True, dry_run=True).matched == 1
    assert doors.replay_many(queue="mixed", status=None, final_status=None, dry_run=True).matched == 1


@pytest.mark.parametrize("verb", BULK)
def test_neither_or_both_of_ids_and_a_filter_are_refused(doors: Jobs, db: Database, verb: str) -> None:
    doors.enqueue(ADD, (1,))
    before = snapshot(db)
    act = getattr(doors, verb)
    wrong: list[dict[str, Any]] = [
        {},
        {"dry_run": True},
        {"ids": ["x"], "queue": "celery"},
        {"queue": None},
        {"ids": "x"},
    ]
    for how in wrong:
        with pytest.raises(ValueError, match="ids"):
            act(**how)
    with pytest.raises(ValueError, match="status: unknown state"):
        act(status="lost")
    with pytest.raises(TypeError, match="queu"):
        act(queu="celery")
    assert snapshot(db) == before


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(doors: Jobs, rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        doors.cancel_many(queue="celery", rate=rate)


@pytest.mark.parametrize("verb", BULK)
def test_no_ids_and_a_filter_of_nothing_do_nothing(doors: Jobs, verb: str) -> None:
    ways: list[dict[str, Any]] = [{"ids": []}, {"queue": "nobody"}]
    for how in ways:
        result = getattr(doors, verb)(**how)
        assert (result.matched, result.done, result.skipped, result.stopped) == (0, 0, {}, False)


def test_any_id_will_do_and_each_run_counts_once(doors: Jobs, db: Database, broker: Broker) -> None:
    run = doors.enqueue(ADD, (1,), task_id="mine")
    retry = fail(db, run.id, delay=0)
    bury(db, retry)
    broker.clear()
    ids = [run.id, "mine", retry, run.id.upper(), run.id]
    result = doors.replay_many(ids, rate=1000)
    assert (result.matched, result.done, result.skipped) == (1, 1, {})
    again = doors.replay_many(iter(ids))
    assert (again.matched, again.done, again.skipped) == (1, 0, {"already_replayed": (run.id,)})
    assert sum(broker.jobs().values()) == 1


UNKNOWN = ["order-8", "01999999-9999-7999-8999-999999999999", "", "a\x00b", "'; DROP TABLE jobs; --"]


@pytest.mark.parametrize("verb", BULK)
def test_unknown_ids_are_skipped_as_they_were_given(doors: Jobs, mixed: dict[str, str], verb: str) -> None:
    name = next(iter(EXPECTED[verb][0]))
    result = getattr(doors, verb)([*UNKNOWN, mixed[name]])
    assert (result.matched, result.done) == (len(UNKNOWN) + 1, 1)
    assert result.skipped == {"job_not_found": tuple(UNKNOWN)}


def test_one_run_under_two_ids_in_two_batches_is_replayed_once_even_with_force(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "MOST_IN_BATCH", 2)
    run = doors.enqueue(ADD, (1,), task_id="mine")
    bury(db, run.id)
    others = [dead(doors, db) for _ in range(3)]
    result = doors.replay_many([run.id, *others, "mine", run.id.upper()], force=True)
    assert (result.matched, result.done) == (4, 4)
    assert doors.count(replay_of=run.id) == 1


# Batches, progress, rate


def test_1_200_dead_letters_are_replayed_in_three_batches_each_once(doors: Jobs, db: Database, broker: Broker) -> None:
    ids = many_dead(doors, db, 1200)
    broker.clear()
    said: list[Progress] = []
    result = doors.replay_many(status="dead", reason="repaired", progress=said.append)
    assert (result.matched, result.done, result.skipped) == (1200, 1200, {})
    assert said == [Progress(1200, 500, 0), Progress(1200, 1000, 0), Progress(1200, 1200, 0)]
    replayed = Counter(_replays(doors))
    assert replayed == dict.fromkeys(ids, 1)
    assert set(broker.jobs().values()) == {1}
    assert broker.count() == 1200
    assert doors.check() == []


def _replays(doors: Jobs) -> list[str]:
    cursor, found = None, []
    while True:
        page = doors.list(limit=1000, cursor=cursor)
        found += [run.replay_of for run in page if run.replay_of is not None]
        if (cursor := page.cursor) is None:
            return found


def test_a_purge_of_600_leaves_nothing(doors: Jobs, db: Database) -> None:
    ids = many_dead(doors, db, 600)
    result = doors.purge_many(ids)
    assert (result.matched, result.done) == (600, 600)
    assert (count(db), count(db, messages)) == (0, 0)


def test_600_held_jobs_are_fired_with_one_message_each(doors: Jobs, broker: Broker) -> None:
    doors.enqueue_many([{"task": ADD, "args": [n]} for n in range(600)], delay=3600)
    assert doors.fire_many(task=ADD).done == 600
    assert (broker.count(), set(broker.jobs().values())) == (600, {1})
    assert doors.fire_many(task=ADD).done == 600
    assert broker.count() == 600


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 1e-6)  # no real sleep takes less


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bulk_module, "time", clock)
    return clock


@pytest.mark.parametrize(("rate", "at_once"), [(20, 10), (3, 1), (0.5, 1)])
def test_a_rate_is_kept(doors: Jobs, db: Database, clock: Clock, rate: float, at_once: int) -> None:
    many_dead(doors, db, 40)
    seen: list[tuple[float, int]] = []
    result = doors.replay_many(
        status="dead", rate=rate, progress=lambda progress: seen.append((clock.now - 1000, progress.done))
    )
    assert result.done == 40
    assert all(done <= seconds * rate + at_once + 1e-6 for seconds, done in seen), seen
    assert clock.now - 1000 == pytest.approx((40 - at_once) / rate, abs=0.01)
    assert max(clock.slept) <= 1  # a stop is heard soon


def test_a_dry_run_and_what_is_skipped_wait_for_nothing(doors: Jobs, db: Database, clock: Clock) -> None:
    ids = many_dead(doors, db, 20)
    assert doors.replay_many(status="dead", rate=1, dry_run=True).done == 20
    doors.replay_many(ids)
    assert doors.replay_many(ids, rate=1).skipped_count == 20
    assert clock.slept == []


def test_a_stop_is_heard_while_a_rate_is_kept(doors: Jobs, db: Database, clock: Clock) -> None:
    many_dead(doors, db, 5)
    result = doors.replay_many(status="dead", rate=0.001, stop=lambda: clock.now > 1005)
    assert (result.done, result.stopped) == (1, True)
    assert clock.now < 1007


# Stop and go on


def after(number: int) -> Callable[[], bool]:
    """Stop after so many batches."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > number

    return stop


@pytest.mark.parametrize("by", ["ids", "filter"])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_stopped_and_goes_on_does_everything_once(
    doors: Jobs, db: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch, by: str, force: bool
) -> None:
    monkeypatch.setattr(bulk_module, "MOST_IN_BATCH", 3)
    ids = many_dead(doors, db, 10)
    broker.clear()
    how: dict[str, Any] = {"ids": ids} if by == "ids" else {"status": "dead"}
    first = doors.replay_many(**how, force=force, stop=after(2))
    assert (first.matched, first.done, first.stopped) == (10, 6, True)
    assert first.cursor is not None
    second = doors.replay_many(**how, force=force, after=first.cursor)
    assert (second.done, second.skipped, second.stopped, second.cursor) == (4, {}, False, None)
    assert Counter(_replays(doors)) == dict.fromkeys(ids, 1)
    assert set(broker.jobs().values()) == {1}


def test_begun_again_without_its_cursor_it_skips_what_was_done(doors: Jobs, db: Database) -> None:
    ids = many_dead(doors, db, 4)
    assert doors.replay_many(ids[:2]).done == 2
    again = doors.replay_many(ids)
    assert (again.done, again.skipped) == (2, {"already_replayed": tuple(ids[:2])})


def test_a_deletion_that_is_stopped_goes_on_from_its_cursor(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "MOST_IN_BATCH", 2)
    ids = many_dead(doors, db, 5)
    ways: list[dict[str, Any]] = [{"ids": ids}, {"status": "dead"}]
    for how in ways:
        first = doors.purge_many(**how, stop=after(1))
        assert (first.done, first.stopped) == (2, True)
        if "ids" in how:
            second = doors.purge_many(**how, after=first.cursor, stop=after(0))
            assert (second.done, second.cursor) == (0, first.cursor)
    assert doors.purge_many(status="dead").done == 1


def test_stopped_before_its_first_batch_it_has_no_cursor_and_did_nothing(doors: Jobs, db: Database) -> None:
    ids = many_dead(doors, db, 2)
    before = snapshot(db)
    result = doors.replay_many(ids, stop=lambda: True)
    assert (result.done, result.stopped, result.cursor) == (0, True, None)
    assert snapshot(db) == before


@pytest.mark.parametrize("wrong", ["order-7", "", "'; DROP TABLE jobs; --"])
def test_a_cursor_of_another_result_is_refused(doors: Jobs, db: Database, wrong: str) -> None:
    ids = many_dead(doors, db, 2)
    before = snapshot(db)
    with pytest.raises(ValueError, match=r"^after: "):
        doors.replay_many(ids, force=True, after=wrong)
    with pytest.raises(ValueError, match=r"^after: "):
        doors.replay_many(status="dead", force=True, after=wrong)
    assert snapshot(db) == before


# Beside others


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[list[str]], object]) -> None:
    """Let something happen once to the runs that a batch has read, before it acts."""
    real = reads.runs_of
    happened: list[list[str]] = []

    def runs_of(db: Database, ids: list[str]) -> Any:
        found = real(db, ids)
        if not happened:
            happened.append(ids)
            act(ids)
        return found

    monkeypatch.setattr(reads, "runs_of", runs_of)


def test_what_starts_between_the_look_and_the_act_is_skipped(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [doors.enqueue(ADD, (n,)).id for n in range(3)]
    between(monkeypatch, lambda _: claim(db, ids[1]))
    result = doors.delete_many(ids)
    assert (result.done, result.skipped) == (2, {"job_running": (ids[1],)})
    assert doors.get(ids[1]).status == "processing"


def test_what_ends_between_the_look_and_the_act_is_skipped(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [doors.enqueue(ADD, (n,)).id for n in range(3)]
    between(monkeypatch, lambda _: succeed(db, ids[1]))
    result = doors.fire_many(ids)
    assert (result.done, result.skipped) == (2, {"job_ended": (ids[1],)})


def test_what_is_deleted_between_the_look_and_the_act_is_skipped(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = many_dead(doors, db, 3)
    between(monkeypatch, lambda _: doors.purge(ids[1]))
    result = doors.replay_many(ids)
    assert (result.done, result.skipped) == (2, {"job_not_found": (ids[1],)})


def test_what_is_replayed_between_the_look_and_the_act_is_skipped(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = many_dead(doors, db, 3)
    between(monkeypatch, lambda _: doors.replay(ids[1]))
    result = doors.replay_many(ids)
    assert (result.done, result.skipped) == (2, {"already_replayed": (ids[1],)})
    assert Counter(_replays(doors)) == dict.fromkeys(ids, 1)


def test_racing_bulk_replays_replay_each_entry_once(doors: Jobs, db: Database, broker: Broker) -> None:
    ids = many_dead(doors, db, 60)
    broker.clear()
    results = race(*[lambda: doors.replay_many(status="dead"), lambda: doors.replay_many(ids)] * 2)
    assert sum(result.done for result in results) == 60
    assert sum(result.skipped_count for result in results) == 180
    assert Counter(_replays(doors)) == dict.fromkeys(ids, 1)
    assert (broker.count(), set(broker.jobs().values())) == (60, {1})


def test_racing_purges_and_replays_do_each_thing_once(doors: Jobs, db: Database) -> None:
    ids = many_dead(doors, db, 40)
    purged, replayed = race(lambda: doors.purge_many(ids), lambda: doors.replay_many(reversed(ids)))
    assert purged.done == 40
    assert replayed.done + replayed.skipped_count == 40
    assert doors.count() == replayed.done


def test_dead_letters_that_come_meanwhile_are_left_alone(
    doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "MOST_IN_BATCH", 2)
    ids = many_dead(doors, db, 6)

    def die_again(_: Progress) -> None:
        for run in doors.list(status="pending"):
            bury(db, run.id)

    result = doors.replay_many(status="dead", force=True, progress=die_again)
    assert (result.matched, result.done) == (6, 6)
    assert doors.count(status="dead") == 12
    assert Counter(_replays(doors)) == dict.fromkeys(ids, 1)


def test_cancels_beside_deletes_leave_nothing_broken(doors: Jobs) -> None:
    made = doors.enqueue_many([{"task": ADD, "args": [n]} for n in range(40)])
    ids = [str(outcome.job_id) for outcome in made]
    thread = threading.Thread(target=doors.cancel_many, args=(ids,))
    thread.start()
    deleted = doors.delete_many(list(reversed(ids)))
    thread.join()
    assert deleted.done == 40
    assert doors.count() == 0


# What each does


def test_a_bulk_cancel_tells_celery(doors: Jobs, app: Celery) -> None:
    results = [app.tasks[ADD].apply_async((n,), countdown=600) for n in range(3)]
    doors.cancel_many(task=ADD)
    assert [result.state for result in results] == ["REVOKED"] * 3


def test_a_bulk_delete_of_what_waits_tells_celery(doors: Jobs, app: Celery, db: Database) -> None:
    results = [app.tasks[ADD].apply_async((n,), countdown=600) for n in range(3)]
    doors.delete_many(status="pending", queue="celery")
    assert [result.state for result in results] == ["REVOKED"] * 3
    assert (count(db), count(db, messages)) == (0, 0)


def test_a_bulk_fire_in_a_paused_queue_sends_nothing(doors: Jobs, db: Database, broker: Broker) -> None:
    pause(db)
    run = doors.enqueue(ADD, (1,), delay=3600)
    assert doors.fire_many([run.id]).done == 1
    assert broker.count() == 0
    assert doors.get(run.id).attempts[0].sent_at is None


def test_a_bulk_replay_reports_what_no_longer_fits_and_replays_the_others(
    doors: Jobs, app: Celery, db: Database
) -> None:
    fits = dead(doors, db, 1, 2)
    app.tasks[ADD].typing = False
    unfit = dead(doors, db, 1, 2, 3)
    result = doors.replay_many(status="dead")
    assert (result.done, result.skipped) == (1, {"arguments_do_not_fit": (unfit,)})
    assert doors.count(replay_of=fits) == 1


def test_a_bulk_replay_of_failed_runs_without_retries(doors: Jobs, db: Database, app: Celery) -> None:
    run = doors.enqueue(BOOM)
    bury(db, run.id)
    waiting = doors.enqueue(BOOM)
    fail(db, waiting.id)
    result = doors.replay_many(task=BOOM, status="failed")
    assert (result.matched, result.done) == (1, 1)
    assert doors.replay_many([waiting.id]).skipped == {"job_not_ended": (waiting.id,)}


def test_a_result_is_a_frozen_value_with_a_documented_form(doors: Jobs, db: Database) -> None:
    ids = many_dead(doors, db, 2)
    result = doors.replay_many([*ids, "unknown"], dry_run=True)
    assert json.loads(json.dumps(result.to_json())) == {
        "verb": "replay",
        "matched": 3,
        "done": 2,
        "skipped": {"job_not_found": 1},
        "skipped_ids": {"job_not_found": ["unknown"]},
        "dry_run": True,
        "stopped": False,
        "cursor": None,
    }
    with pytest.raises(FrozenInstanceError):
        result.done = 7  # type: ignore[misc]


def test_every_verb_takes_tags_which_replays_keep(doors: Jobs, db: Database) -> None:
    ids = [dead(doors, db, n, tags=["vip", "eu"] if n else ["vip"]) for n in range(3)]
    where: Any = {"tag": ["vip", "eu"]}
    assert doors.count(**where) == doors.preview("purge", **where).matched == 2
    assert {run.id for run in doors.list(status="dead", **where)} == set(ids[1:])
    assert doors.replay_many(**where).done == 2
    waiting = doors.list(ended=False, **where).runs
    assert [(run.tags, run.replay_of in ids[1:]) for run in waiting] == [(["vip", "eu"], True)] * 2
    for verb in (doors.fire_many, doors.cancel_many, doors.delete_many, doors.purge_many):
        assert verb(**where).done == 2
    assert [run.id for run in doors.list(tag="vip")] == ids[:1]
