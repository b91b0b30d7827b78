"""One tick of an entry of beat's makes one job, however many beats tick (semantics.md section 10)."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from celery.beat import Scheduler, SchedulingError
from celery.schedules import BaseSchedule, crontab, schedstate, schedule
from redis import Redis
from sqlalchemy import select

from celery_jobs.events import Event, Kind, subscribe, unsubscribe
from celery_jobs.failpoints import striking
from celery_jobs.store.tables import ticks
from celery_jobs.ticks import last_due, note_ticks
from tests.schedules.conftest import made
from tests.store.conftest import race, shift

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs import Jobs
    from celery_jobs.store.db import Database

MORNING = datetime(2025, 6, 2, 9, 59, 30, tzinfo=UTC)


class Beat(Scheduler):  # type: ignore[misc]
    """A scheduler whose clock is `ahead` seconds ahead of the test's."""

    def __init__(self, app: Celery, ahead: float = 0) -> None:
        super().__init__(app, schedule={})
        self.time = MORNING
        self.ahead = timedelta(seconds=ahead)
        note_ticks(self)

    def has(self, name: str, plan: BaseSchedule, last: datetime | None = None, **entry: Any) -> None:
        """Give it an entry, which it believes to have ticked at `last`."""
        plan.nowfun = self.now
        self.update_from_dict({name: {"task": "close", **entry, "schedule": plan}})
        self.schedule[name].last_run_at = last or self.now()

    def now(self) -> datetime:
        return self.time + self.ahead

    def tick_at(self, moment: datetime) -> None:
        """Let it do what is due by its own clock, when it is this time by the test's."""
        self.time = moment
        while self.tick() == 0:
            pass


@pytest.fixture
def skipped() -> Iterator[list[Event]]:
    """The ticks that made no job."""
    heard: list[Event] = []
    note = subscribe(lambda event: heard.append(event) if event.kind is Kind.TICK_SKIPPED else None)
    yield heard
    unsubscribe(note)


def sends(beat: Beat, name: str = "close-the-books") -> Any:
    """The entry ticks, due or not, as another beat's would at this moment."""
    return beat.apply_async(beat.schedule[name])


def test_the_minute_of_a_crontab_is_one_tick_of_all_beats(
    app: Celery, jobs: Jobs, skipped: list[Event], broker_url: str
) -> None:
    beats = [Beat(app), Beat(app, ahead=3), Beat(app, ahead=-4)]
    for beat in beats:
        beat.has("close-the-books", crontab(minute="*/5"), args=[7])
    for seconds in range(600):
        for beat in beats:
            beat.tick_at(MORNING + timedelta(seconds=seconds))
    assert made(jobs) == ["(7)"] * 2
    assert [(event.details, event.task) for event in skipped] == [
        ({"schedule": "close-the-books", "reason": "same_tick"}, "close")
    ] * 4
    assert {event.job_id for event in skipped} == {run.id for run in jobs.list().runs}
    with Redis.from_url(broker_url) as client:
        lists: list[Any] = ["celery", *(f"celery\x06\x16{level}" for level in (3, 6, 9))]
        assert sum(int(client.llen(name)) for name in lists) == 2  # who makes no job sends nothing


def test_a_beat_that_wakes_late_belongs_to_the_minute_that_is_due(app: Celery, jobs: Jobs) -> None:
    first, late = Beat(app), Beat(app)
    for beat in (first, late):
        beat.has("close-the-books", crontab(minute="*/5"))
    first.tick_at(MORNING + timedelta(seconds=30))
    late.tick_at(MORNING + timedelta(seconds=200))
    assert len(made(jobs)) == 1
    late.tick_at(MORNING + timedelta(seconds=331))
    first.tick_at(MORNING + timedelta(seconds=450))
    assert len(made(jobs)) == 2


def test_a_beat_that_comes_back_makes_one_job_of_what_it_missed(app: Celery, jobs: Jobs) -> None:
    """And none where another was there all the time."""
    there, back = Beat(app), Beat(app)
    there.has("close-the-books", crontab(minute="0"))
    back.has("close-the-books", crontab(minute="0"), last=MORNING - timedelta(days=3))
    there.tick_at(MORNING + timedelta(seconds=31))
    back.tick_at(MORNING + timedelta(seconds=40))
    assert len(made(jobs)) == 1


def test_a_beat_whose_clock_is_an_hour_fast_does_not_silence_the_others(app: Celery, jobs: Jobs, db: Database) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    fast, right = Beat(app, ahead=3600), Beat(app)
    for beat in (fast, right):
        beat.has("close-the-books", crontab(), last=now)
    sends(fast)
    assert len(made(jobs)) == 1
    shift(db, 180)
    right.time = datetime.now(UTC)
    sends(right)
    assert len(made(jobs)) == 2


def test_an_interval_is_one_tick_until_four_fifths_of_it_have_passed(
    app: Celery, jobs: Jobs, db: Database, skipped: list[Event]
) -> None:
    beats = [Beat(app), Beat(app)]
    for beat in beats:
        beat.has("close-the-books", schedule(100.0))
    first, again = (sends(beat) for beat in beats)
    assert (again.id, again.job_id, again.deduplicated) == (first.id, first.job_id, True)
    shift(db, 70)
    assert sends(beats[1]).id == first.id
    shift(db, 11)
    assert sends(beats[1]).id != first.id
    assert (len(made(jobs)), len(skipped)) == (2, 2)


def test_many_beats_at_the_same_moment_make_one_job(app: Celery, jobs: Jobs) -> None:
    beats = [Beat(app) for _ in range(8)]
    for beat in beats:
        beat.has("close-the-books", schedule(100.0))
        beat.has("by-the-minute", crontab(), last=MORNING - timedelta(minutes=1))
    for name in ("close-the-books", "by-the-minute"):
        results = race(*[lambda beat=beat: sends(beat, name) for beat in beats])  # noqa: B023
        assert len({result.job_id for result in results}) == 1
        assert sum(not result.deduplicated for result in results) == 1
    assert len(made(jobs)) == 2


def test_two_entries_of_one_task_are_two(app: Celery, jobs: Jobs) -> None:
    beat = Beat(app)
    beat.has("mine", schedule(100.0), args=[1])
    beat.has("yours", schedule(100.0), args=[2])
    for name in ("mine", "yours", "mine"):
        sends(beat, name)
    assert made(jobs) == ["(1)", "(2)"]


def test_an_entry_that_is_changed_goes_on(app: Celery, jobs: Jobs, db: Database) -> None:
    beat = Beat(app)
    beat.time = datetime.now(UTC)
    steps = [schedule(86_400.0), crontab(), crontab(minute="*/2"), schedule(120.0), schedule(60.0), crontab()]
    for number, plan in enumerate(steps):
        beat.has("close-the-books", plan, args=[number])
        sends(beat)
        shift(db, 121)
    assert made(jobs) == [f"({number})" for number in range(len(steps))]


def test_other_tasks_and_our_own_services_tick_as_ever(app: Celery, db: Database, broker_url: str) -> None:
    beat = Beat(app)
    beat.has("plain", schedule(100.0), task="plain")
    beat.has("celery-jobs.promoter", schedule(100.0), task="celery_jobs.promoter", options={"queue": "celery"})
    for name in ("plain", "plain", "celery-jobs.promoter", "celery-jobs.promoter"):
        sends(beat, name)
    with Redis.from_url(broker_url) as client:
        assert client.llen("celery") == 4
    with db.reading() as connection:
        assert connection.execute(select(ticks)).all() == []


def test_an_entry_makes_an_http_job(app: Celery, jobs: Jobs) -> None:
    beats = [Beat(app), Beat(app)]
    request = {"url": "https://shop.example/close", "payload": {"shop": 7}}
    for beat in beats:
        beat.has("call", schedule(100.0), task="celery_jobs.http.request", kwargs=request, options={"queue": "calls"})
        sends(beat, "call")
    [run] = jobs.list().runs
    assert (run.task, run.queue) == ("celery_jobs.http.request", "calls")


def test_what_else_is_enqueued_while_an_entry_ticks_is_no_tick(app: Celery, jobs: Jobs) -> None:
    other = app.tasks["close"]

    class Doubling(type(other)):  # type: ignore[misc]
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            app.send_task("aside", (1,))
            result = super().apply_async(args, kwargs, **options)
            app.send_task("close", (2,))
            return result

    @app.task(name="aside", shared=False)
    def aside(number: int) -> None: ...

    @app.task(name="doubling", base=Doubling, shared=False)
    def doubling(shop: int) -> None: ...

    beat = Beat(app)
    beat.has("double", schedule(100.0), task="doubling", args=[7])
    sends(beat, "double"), sends(beat, "double")
    assert len(jobs.list(task="doubling").runs) == 1
    assert len(jobs.list(task="aside").runs) == len(jobs.list(task="close").runs) == 2


@pytest.mark.parametrize("stage", ["begun", "written", "committed"])
def test_job_and_tick_are_written_together(app: Celery, jobs: Jobs, db: Database, stage: str) -> None:
    """A reply that is lost leaves both, or neither; the next beat makes what is missing."""
    beat = Beat(app)
    beat.has("close-the-books", schedule(100.0))
    with striking(f"enqueue.{stage}", "lose") as struck, suppress(SchedulingError):
        sends(beat)
    assert struck
    with db.reading() as connection:
        noted = [row.job_id for row in connection.execute(select(ticks))]
    assert noted == [run.id for run in jobs.list().runs]
    sends(beat)
    assert len(made(jobs)) == 1


class Sun(BaseSchedule):  # type: ignore[misc]
    """Rises once a day."""

    def is_due(self, last_run_at: datetime) -> Any:
        return schedstate(False, 86_400.0)


def test_a_schedule_of_another_kind_ticks_once_a_minute_at_most(app: Celery, jobs: Jobs, db: Database) -> None:
    beat = Beat(app)
    beat.has("sunrise", Sun(app=app))
    for seconds in (0, 50, 11):
        shift(db, seconds)
        sends(beat, "sunrise")
    assert len(made(jobs)) == 2


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("plan", "moment", "due"),
    [
        ({"minute": "*/5"}, "2025-06-02T10:04:59Z", "2025-06-02T10:00:00Z"),
        ({"minute": "*/5"}, "2025-06-02T10:05:00Z", "2025-06-02T10:05:00Z"),
        ({"minute": 0, "hour": 12}, "2025-06-02T15:59:59Z", "2025-06-01T16:00:00Z"),
        ({"minute": 0, "hour": 0, "day_of_week": "sun"}, "2025-06-04T00:00:00Z", "2025-06-01T04:00:00Z"),
        ({"minute": 0, "hour": 0, "day_of_month": 29, "month_of_year": 2}, "2025-06-04T00:00Z", "2024-02-29T05:00Z"),
        # 01:30 comes twice on 2025-11-02, at 05:30 and at 06:30 UTC.
        ({"minute": 30}, "2025-11-02T05:31:00Z", "2025-11-02T05:30:00Z"),
        ({"minute": 30}, "2025-11-02T06:31:00Z", "2025-11-02T06:30:00Z"),
        # 02:30 does not come on 2025-03-09: the clocks go from 02:00 to 03:00 at 07:00 UTC.
        ({"minute": 30, "hour": 2}, "2025-03-09T07:00:01Z", "2025-03-09T06:30:00Z"),
        ({"minute": 30, "hour": 2}, "2025-03-09T07:45:00Z", "2025-03-09T06:30:00Z"),
    ],
)
def test_the_due_minute_of_a_crontab(plan: dict[str, Any], moment: str, due: str) -> None:
    found = crontab(**plan)
    found.tz = NEW_YORK
    assert last_due(found, datetime.fromisoformat(moment)) == datetime.fromisoformat(due)
