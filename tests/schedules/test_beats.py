"""Two real beats on one database: each tick of an entry is one job."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store.db import Database
from celery_jobs.store.tables import jobs as rows
from tests.apps import make_app
from tests.processes import SOURCE, Beat, Worker, wait_until
from tests.schedules.office import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url, timeout=20)
    yield database
    database.dispose()


@pytest.fixture
def beat(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Callable[..., Beat]]:
    """Starts beats of the office, with these entries."""
    with ExitStack() as stack:

        def start(entries: str = "none", **env: str) -> Beat:
            path = os.pathsep.join([str(SOURCE), str(SOURCE.parent)])
            process = Beat(
                "tests.schedules.office:app",
                tmp_path,
                broker_url=broker_url,
                database_url=database_url,
                env={"PYTHONPATH": path, ENTRIES: entries, **env},
            )
            return stack.enter_context(process).wait_ready(30)

        yield start


def moments(db: Database) -> list[datetime]:
    """When each job was made."""
    with db.reading() as connection:
        return list(connection.execute(select(rows.c.created_at).order_by(rows.c.created_at)).scalars())


def test_two_beats_make_one_job_a_tick_of_an_interval(beat: Callable[..., Beat], db: Database) -> None:
    beats = [beat("interval"), beat("interval")]
    wait_until(lambda: len(moments(db)) >= 4, 20, process=beats[0])
    wait_until(lambda: all(one.log.count("Sending due task open-up") >= 4 for one in beats), 20, process=beats[1])
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments(db))]
    assert min(gaps) >= 0.8 - 0.05  # a row is older than its tick by the statement between them
    assert sum(one.log.count("a tick of open-up (office.note) makes no job: same_tick") for one in beats) >= 2


@pytest.fixture
def jobs(broker_url: str, db: Database) -> Iterator[Jobs]:
    """The verbs of an app that shares the office's task."""
    app = make_app(broker_url, db.url.render_as_string(hide_password=False))

    @app.task(name="office.note", shared=False)
    def note(text: str) -> str:
        return text

    yield Jobs(app)
    plugin_of(app).unchecked_db.dispose()
    app.close()


def ticks_of(process: Beat) -> list[str]:
    """The jobs that a beat says it has made of a schedule's ticks."""
    return re.findall(r"the schedule open-up ticks: job (\S+)", process.log)


def require_quiet(process: Beat) -> None:
    """It ends in good order, and has had nothing to complain of."""
    assert process.stop() == 0
    assert not re.search("Traceback|ERROR|CRITICAL", process.log), process.tail()


@pytest.mark.matrix
def test_two_beats_make_one_job_a_tick_of_a_schedule_and_one_goes_on_alone(
    beat: Callable[..., Beat], db: Database, jobs: Jobs
) -> None:
    made = jobs.schedule("open-up", "office.note", ["second"], every=1)
    beats = [beat(), beat()]
    wait_until(lambda: len(moments(db)) >= 5, 20, process=beats[0])
    beats[1].kill()
    alone = len(moments(db))
    wait_until(lambda: len(moments(db)) >= alone + 2, 20, process=beats[0])
    # A tick may come late, and the next one in time; there are never more jobs than there were ticks.
    assert len(moments(db)) <= (moments(db)[-1] - made.created_at).total_seconds()
    jobs.schedule("other", "office.note", ["other"], every=1)
    jobs.pause_schedule("open-up")
    held = len(jobs.list(tag="schedule:open-up").runs)
    assert held <= len(ticks_of(beats[0])) + len(ticks_of(beats[1])) + 1  # who was killed may not have said it
    assert not set(ticks_of(beats[0])) & set(ticks_of(beats[1]))
    wait_until(lambda: beats[0].log.count("the schedule other ticks") >= 2, 20, process=beats[0])
    assert len(jobs.list(tag="schedule:open-up").runs) == held
    require_quiet(beats[0])


@pytest.mark.matrix
def test_a_beat_inside_a_worker_ticks_too(
    broker_url: str, database_url: str, tmp_path: Path, db: Database, jobs: Jobs
) -> None:
    jobs.schedule("open-up", "office.note", ["second"], every=1)
    with Worker(
        "tests.schedules.office:app",
        tmp_path,
        *("-B", "--schedule", str(tmp_path / "beat")),
        broker_url=broker_url,
        database_url=database_url,
        env={"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
    ).wait_ready() as worker:
        wait_until(lambda: len(jobs.list(final_status="success").runs) >= 3, 20, process=worker)
        assert worker.stop() == 0
        assert "Traceback" not in worker.log, worker.tail()


@pytest.mark.matrix
def test_two_beats_make_one_job_a_minute_of_a_crontab(beat: Callable[..., Beat], db: Database) -> None:
    beats = [beat("crontab"), beat("crontab")]
    wait_until(lambda: all(one.log.count("Sending due task close-up") >= 2 for one in beats), 130, process=beats[0])
    wait_until(lambda: sum(one.log.count("makes no job: same_tick") for one in beats) >= 2, process=beats[1])
    minutes = Counter(moment.replace(second=0, microsecond=0) for moment in moments(db))
    assert set(minutes.values()) == {1}
    assert len(minutes) == 2
