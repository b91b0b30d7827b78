"""Schedules in SQL: the verbs, what each tick makes, and that any number of beats make it once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import update

from celery_jobs.errors import InvalidJob, ScheduleNotFound, StoreUnavailable
from celery_jobs.events import Event, Kind, subscribe, unsubscribe
from celery_jobs.failpoints import striking
from celery_jobs.store import schedules as store
from celery_jobs.store.tables import schedules
from celery_jobs.ticker import LOOK_PAUSE, Ticker
from tests.apps import make_app, working
from tests.schedules.conftest import made
from tests.store.conftest import complete, race, shift

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs import Jobs
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.db import Database


@pytest.fixture
def ticker(plugin: Plugin) -> Ticker:
    return Ticker(plugin)


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    """What is told of schedules."""
    events: list[Event] = []
    note = subscribe(lambda event: events.append(event) if event.kind.startswith("schedule.") else None)
    yield events
    unsubscribe(note)


def kinds(heard: list[Event]) -> list[str]:
    return [event.kind.removeprefix("schedule.") for event in heard]


def reasons(heard: list[Event]) -> list[str]:
    return [event.details["reason"] for event in heard if event.kind is Kind.TICK_SKIPPED]


def test_a_schedule_is_made_shown_and_changed(jobs: Jobs, heard: list[Event]) -> None:
    before = datetime.now(UTC)
    new = jobs.schedule("books", "close", [7], every=60, tags=["nightly"], priority=5)
    assert (new.task, new.args, new.kwargs, new.options) == ("close", [7], {}, {"tags": ["nightly"], "priority": 5})
    assert (new.cron, new.timezone, new.every, new.missed, new.overlap) == (None, None, 60, "skip", "allow")
    assert new.next_at is not None
    assert timedelta(seconds=59) < new.next_at - before < timedelta(seconds=90)
    assert jobs.get_schedule("books") == new
    other = jobs.schedule("a-first", "close", cron="30  2 * * *", timezone="Europe/Berlin", missed="run")
    assert (other.cron, other.timezone, other.every) == ("30 2 * * *", "Europe/Berlin", None)
    assert jobs.schedules() == [other, new]
    changed = jobs.schedule("books", "close", kwargs={"shop": 8}, every=60, overlap="skip")
    assert (changed.args, changed.kwargs, changed.options, changed.overlap) == ([], {"shop": 8}, {}, "skip")
    assert (changed.next_at, changed.created_at) == (new.next_at, new.created_at)
    assert changed.updated_at > new.updated_at
    assert jobs.schedule("books", "close", every=61).next_at != new.next_at
    assert [event.details["created"] for event in heard] == [True, True, False, False]
    assert other.to_json()["next_at"].endswith("Z")


def test_a_tick_makes_a_job_which_says_by_which_schedule(
    jobs: Jobs, ticker: Ticker, db: Database, heard: list[Event], broker_url: str
) -> None:
    jobs.schedule("books", "close", [7], every=60, priority=3, callback_url="https://shop.example/done")
    jobs.schedule("listed", "close", [8], every=100, tags=["nightly"])
    jobs.schedule("named", "close", [9], every=100, tags={"team": "bank"})
    assert ticker.look() == LOOK_PAUSE
    shift(db, 100)
    assert ticker.look() == 0
    runs = {str(jobs.arguments(run.id)): run for run in jobs.list().runs}
    assert {call: run.tags for call, run in runs.items()} == {
        "(7)": {"schedule": "books"},
        "(8)": ["nightly", "schedule:listed"],
        "(9)": {"team": "bank", "schedule": "named"},
    }
    assert (runs["(7)"].priority, runs["(7)"].callback_url) == (3, "https://shop.example/done")
    for name, call in (("books", "(7)"), ("listed", "(8)"), ("named", "(9)")):
        assert [run.id for run in jobs.list(tag=f"schedule:{name}").runs] == [runs[call].id]
        assert jobs.get_schedule(name).last_job_id == runs[call].id
    assert kinds(heard)[3:] == ["ticked"] * 3
    assert 0 < ticker.look() <= LOOK_PAUSE
    with Redis.from_url(broker_url) as client:
        lists: list[Any] = ["celery", *(f"celery\x06\x16{level}" for level in (3, 6, 9))]
        assert sum(int(client.llen(name)) for name in lists) == 3


def test_the_job_runs(app: Celery, jobs: Jobs, ticker: Ticker, db: Database) -> None:
    jobs.schedule("books", "close", [7], every=60)
    shift(db, 60)
    ticker.look()
    with working(app):
        [run] = jobs.list(tag="schedule:books").runs
        assert jobs.wait(run.id, 30).result == 7


def test_a_schedule_of_requests(jobs: Jobs, ticker: Ticker, db: Database) -> None:
    made_it = jobs.schedule(
        "ping", url="https://shop.example/ping", every=300, queue="calls", method="PUT", payload={"a": [1]}
    )
    assert made_it.task == "celery_jobs.http.request"
    assert made_it.kwargs == {"url": "https://shop.example/ping", "method": "PUT", "payload": {"a": [1]}}
    shift(db, 300)
    ticker.look()
    [run] = jobs.list().runs
    assert (run.task, run.queue) == ("celery_jobs.http.request", "calls")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "plain"}, "name: plain is no job"),
        ({"task": None}, "task: give either a task, by its name, or the url"),
        ({"task": "close", "url": "https://shop.example"}, "task: give either"),
        ({"task": "close", "args": [1, 2]}, "args: "),
        ({"task": "close", "args": "7"}, "args: a list is expected"),
        ({"task": "close", "args": [object()]}, "args: what JSON has is expected"),
        ({"task": "close", "kwargs": {"shop": "\x00"}}, "kwargs: what JSON has is expected, and no NUL"),
        ({"task": "close", "quue": "q"}, "quue: unknown option; did you mean queue?"),
        ({"task": "close", "idempotency_key": "k"}, "idempotency_key: unknown option"),
        ({"task": "close", "scheduled_at": "2030-01-01"}, "scheduled_at: unknown option"),
        ({"task": "close", "delay": -1}, "delay: a number of seconds from 0"),
        ({"task": "close", "callback_url": "ftp://x"}, "callback_url: "),
        ({"task": "close", "callback_url": "http://127.0.0.1/"}, "callback_url: "),
        ({"task": "close", "tags": {"schedule": "x"}}, "tags: 'schedule' is the tag"),
        ({"task": "close", "tags": 7}, "tags: a list of texts"),
        ({"task": "close", "concurrency_limit": 2}, "concurrency_limit: needs a concurrency_key"),
        ({"task": "close", "missed": "all"}, "missed: skip or run is expected"),
        ({"task": "close", "overlap": "no"}, "overlap: allow or skip is expected"),
        ({"task": "close", "every": 0}, "every: a number of seconds"),
        ({"task": "close", "name": ""}, "name: a text of 1 to 255 bytes"),
        ({"task": "close", "name": "é" * 128}, "name: a text of 1 to 255 bytes"),
        ({"task": None, "url": "https://shop.example", "method": "LOOK"}, "method: "),
        ({"task": None, "url": "https://shop.example", "args": [1]}, "args: goes with a task"),
        ({"task": None, "url": "http://10.0.0.1/"}, "url: "),
    ],
)
def test_what_no_tick_could_make_is_refused_at_once(jobs: Jobs, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        jobs.schedule(**{"name": "books", "every": 60, **given})
    assert jobs.schedules() == []
    assert jobs.list().runs == ()


def test_several_beats_make_one_job_of_a_tick(app: Celery, plugin: Plugin, jobs: Jobs, db: Database) -> None:
    jobs.schedule("books", "close", every=60)
    # In the last moments of a minute its tick is over a minute late once the time is shifted.
    jobs.schedule("others", "close", cron="* * * * *", missed="run")
    for count in (2, 4):
        shift(db, 60)
        race(*[Ticker(plugin).look] * 8)
        assert len(made(jobs)) == count
    for name in ("books", "others"):
        assert len(jobs.list(tag=f"schedule:{name}").runs) == 2


def test_missed_ticks_are_left_out_or_make_one_job(
    jobs: Jobs, ticker: Ticker, db: Database, heard: list[Event]
) -> None:
    jobs.schedule("left-out", "close", [1], every=100)
    jobs.schedule("made-up", "close", [2], every=100, missed="run")
    shift(db, 100 * 24 + 61)
    ticker.look()
    assert made(jobs) == ["(2)"]
    assert reasons(heard) == ["missed"]
    for name in ("left-out", "made-up"):
        next_at = jobs.get_schedule(name).next_at
        assert next_at is not None
        assert timedelta(0) < next_at - datetime.now(UTC) <= timedelta(seconds=100)
    ticker.look()
    assert made(jobs) == ["(2)"]


def test_a_tick_that_is_a_minute_late_is_not_missed(jobs: Jobs, ticker: Ticker, db: Database) -> None:
    jobs.schedule("books", "close", every=300)
    shift(db, 350)
    ticker.look()
    assert len(made(jobs)) == 1


def test_a_tick_over_the_last_job_may_be_left_out(jobs: Jobs, ticker: Ticker, db: Database, heard: list[Event]) -> None:
    jobs.schedule("alone", "close", [1], every=60, overlap="skip")
    jobs.schedule("any", "close", [2], every=60)
    for _ in range(3):
        shift(db, 60)
        ticker.look()
    assert Counter(made(jobs)) == {"(1)": 1, "(2)": 3}
    assert reasons(heard) == ["overlap"] * 2
    [run] = jobs.list(tag="schedule:alone").runs
    assert {event.job_id for event in heard if event.kind is Kind.TICK_SKIPPED} == {run.id}
    complete(db, run.id)
    shift(db, 60)
    ticker.look()
    assert Counter(made(jobs))["(1)"] == 2
    [latest, _] = jobs.list(tag="schedule:alone").runs
    jobs.delete(latest.id)
    shift(db, 60)
    ticker.look()
    assert Counter(made(jobs))["(1)"] == 2


def test_a_paused_schedule_does_not_tick_and_misses_nothing(
    jobs: Jobs, ticker: Ticker, db: Database, heard: list[Event]
) -> None:
    jobs.schedule("books", "close", every=60, missed="run")
    paused = jobs.pause_schedule("books", by="mo", reason="stocktaking")
    assert (paused.paused_by, paused.paused_reason) == ("mo", "stocktaking")
    shift(db, 200)
    ticker.look()
    again = jobs.pause_schedule("books")
    assert again.paused_by is None
    assert again.paused_at is not None
    assert datetime.now(UTC) - again.paused_at > timedelta(seconds=200)
    jobs.schedule("books", "close", every=30, missed="run")
    assert jobs.get_schedule("books").paused_at is not None
    assert made(jobs) == []
    resumed = jobs.resume_schedule("books")
    assert (resumed.paused_at, jobs.resume_schedule("books")) == (None, resumed)
    ticker.look()
    assert made(jobs) == []
    shift(db, 31)
    ticker.look()
    assert len(made(jobs)) == 1
    assert kinds(heard) == ["set", "paused", "paused", "set", "resumed", "ticked"]


def test_a_schedule_is_run_by_hand_whatever_its_ticks(jobs: Jobs, db: Database, heard: list[Event]) -> None:
    new = jobs.schedule("books", "close", [7], every=60, overlap="skip")
    jobs.pause_schedule("books")
    first, second = jobs.run_schedule("books"), jobs.run_schedule("books")
    assert made(jobs, tag="schedule:books") == ["(7)", "(7)"]
    after = jobs.get_schedule("books")
    assert (after.next_at, after.last_job_id) == (new.next_at, second.id)
    assert [event.job_id for event in heard if event.kind is Kind.SCHEDULE_RAN] == [first.id, second.id]


def test_a_removed_schedule_ticks_no_more_and_leaves_its_jobs(jobs: Jobs, ticker: Ticker, db: Database) -> None:
    jobs.schedule("books", "close", every=60)
    jobs.run_schedule("books")
    jobs.remove_schedule("books")
    shift(db, 60)
    ticker.look()
    assert (jobs.schedules(), len(made(jobs))) == ([], 1)


@pytest.mark.parametrize(
    "verb", ["get_schedule", "pause_schedule", "resume_schedule", "run_schedule", "remove_schedule"]
)
def test_a_schedule_that_is_not_there_is_told_with_the_nearest(jobs: Jobs, verb: str) -> None:
    jobs.schedule("books", "close", every=60)
    with pytest.raises(ScheduleNotFound, match=r"there is no schedule 'boks'; did you mean books\?"):
        getattr(jobs, verb)("boks")
    assert jobs.get_schedule("books").paused_at is None


def test_a_pause_of_no_text_is_refused(jobs: Jobs) -> None:
    jobs.schedule("books", "close", every=60)
    with pytest.raises(ValueError, match=r"reason: a text of at most 1,024 characters"):
        jobs.pause_schedule("books", reason="x" * 1025)


def test_secrets_are_masked_in_what_is_shown_and_run_as_they_are(broker_url: str, database_url: str) -> None:
    from celery_jobs import Jobs

    app = make_app(broker_url, database_url, jobs_redact=["token"])

    @app.task(name="close", shared=False)
    def close(token: str, more: Any = None) -> str:
        return token

    jobs = Jobs(app)
    shown = jobs.schedule(
        "books", "close", ["s3cret"], {"more": {"token": "s3cret"}}, every=60, tags={"token": "s3cret"}
    )
    assert "s3cret" not in str(shown.to_json()) + str(jobs.schedules()) + str(jobs.get_schedule("books"))
    found = store.find(jobs._plugin.db, "books")
    assert found is not None
    assert (found.args, found.kwargs) == (["s3cret"], {"more": {"token": "s3cret"}})
    jobs._plugin.db.dispose()
    app.close()


def test_what_can_make_no_job_any_more_stays_due_and_is_told_once(
    jobs: Jobs, ticker: Ticker, db: Database, heard: list[Event]
) -> None:
    """Whoever shares the database may know the task."""
    jobs.schedule("books", "close", [1], every=60)
    jobs.schedule("fine", "close", [2], every=60)
    db.run(lambda c: c.execute(update(schedules).where(schedules.c.name == "books").values(task="plain")))
    shift(db, 60)
    assert [ticker.look() for _ in range(3)][-1] == LOOK_PAUSE
    assert made(jobs) == ["(2)"]
    [failed] = [event for event in heard if event.kind is Kind.SCHEDULE_FAILED]
    assert (failed.details["schedule"], failed.task) == ("books", "plain")
    assert "plain is no job" in failed.details["error"]

    db.run(lambda c: c.execute(update(schedules).where(schedules.c.name == "books").values(task="close")))
    ticker.look()
    assert made(jobs) == ["(2)", "(1)"]


def test_a_change_between_the_look_and_the_tick_counts(jobs: Jobs, plugin: Plugin, db: Database) -> None:
    for change in (
        lambda: jobs.pause_schedule("books"),
        lambda: jobs.remove_schedule("books"),
        lambda: jobs.schedule("books", "close", [8], every=60),
    ):
        jobs.schedule("books", "close", [7], every=60)
        jobs.resume_schedule("books")
        shift(db, 60)
        [(seen, _)] = store.soon(db, 10)
        change()
        ticked = store.tick(db, seen, [entry.job for entry in _gather(plugin, seen)])
        assert ticked == store.Ticked(store.Outcome.TAKEN, [])
    assert made(jobs) == []


def _gather(plugin: Plugin, seen: Any) -> Any:
    from celery_jobs.schedules import gather, values_of

    return gather(plugin, values_of(seen))


@pytest.mark.parametrize("stage", ["begun", "written", "committed"])
def test_a_lost_reply_makes_one_job_and_sends_it(
    jobs: Jobs, ticker: Ticker, db: Database, broker_url: str, stage: str
) -> None:
    jobs.schedule("books", "close", every=60)
    shift(db, 60)
    with striking(f"tick.{stage}", "lose") as struck:
        try:
            ticker.look()
        except StoreUnavailable:
            ticker.look()
    assert struck
    assert len(made(jobs)) == 1
    ticker.look()
    assert len(made(jobs)) == 1


def test_a_file_that_is_not_there_is_not_made(broker_url: str, tmp_path: Any) -> None:
    from celery_jobs.plugin import plugin_of

    app = make_app(broker_url, f"sqlite:///{tmp_path / 'nowhere.sqlite3'}")
    assert Ticker(plugin_of(app)).look() == LOOK_PAUSE
    assert list(tmp_path.iterdir()) == []
    app.close()
