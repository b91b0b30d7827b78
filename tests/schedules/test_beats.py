"""Two real beats on one database: each tick of an entry is one job."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from celery_jobs.store.db import Database
from celery_jobs.store.tables import jobs
from tests.processes import SOURCE, Beat, wait_until
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
        return list(connection.execute(select(jobs.c.created_at).order_by(jobs.c.created_at)).scalars())


def test_two_beats_make_one_job_a_tick_of_an_interval(beat: Callable[..., Beat], db: Database) -> None:
    beats = [beat("interval"), beat("interval")]
    wait_until(lambda: len(moments(db)) >= 4, 20, process=beats[0])
    wait_until(lambda: all(one.log.count("Sending due task open-up") >= 4 for one in beats), 20, process=beats[1])
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments(db))]
    assert min(gaps) >= 0.8 - 0.05  # a row is older than its tick by the statement between them
    assert sum(one.log.count("a tick of open-up (office.note) makes no job: same_tick") for one in beats) >= 2


@pytest.mark.matrix
def test_two_beats_make_one_job_a_minute_of_a_crontab(beat: Callable[..., Beat], db: Database) -> None:
    beats = [beat("crontab"), beat("crontab")]
    wait_until(lambda: all(one.log.count("Sending due task close-up") >= 2 for one in beats), 130, process=beats[0])
    wait_until(lambda: sum(one.log.count("makes no job: same_tick") for one in beats) >= 2, process=beats[1])
    minutes = Counter(moment.replace(second=0, microsecond=0) for moment in moments(db))
    assert set(minutes.values()) == {1}
    assert len(minutes) == 2
