"""A beat whose schedules are in a database that goes away: it waits, goes on, and ends quietly all the same."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store.tables import jobs
from tests.apps import make_app
from tests.processes import SOURCE, Beat, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.matrix]


def test_a_beat_waits_for_a_database_that_is_away(
    broker_url: str, fragile_url: str, own_postgres: Postgres, tmp_path: Path
) -> None:
    app = make_app(broker_url, fragile_url)
    app.task(name="office.note", shared=False)(note)
    Jobs(app).schedule("open-up", "office.note", ["second"], every=1, missed="run")
    db = plugin_of(app).db

    def made() -> int:
        with db.asking() as connection:
            return int(connection.execute(select(func.count()).select_from(jobs)).scalar_one())

    with Beat(
        "tests.schedules.office:app",
        tmp_path,
        broker_url=broker_url,
        database_url=fragile_url,
        env={"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
    ).wait_ready() as process:
        wait_until(lambda: made() >= 2, 20, process=process)
        db.dispose()
        own_postgres.stop()
        wait_until(lambda: "waiting for the jobs database" in process.log, 20, process=process)
        own_postgres.start()
        before = made()
        wait_until(lambda: made() >= before + 2, 30, process=process)
        db.dispose()
        own_postgres.stop()
        wait_until(lambda: process.log.count("waiting for the jobs database") >= 2, 20, process=process)
        assert process.stop() == 0
        assert not re.search("Traceback|ERROR|CRITICAL", process.log), process.tail()
    app.close()


def note(text: str) -> str:
    return text
