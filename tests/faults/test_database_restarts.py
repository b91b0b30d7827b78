"""PostgreSQL goes and comes back, under load and for long: callers are told in time, workers come back alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import StoreUnavailable
from celery_jobs.store.tables import jobs
from tests.faults.office import Office, a_job_that_ends_meanwhile, let_it_end
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres

    NewOffice = Callable[..., Office]

pytestmark = pytest.mark.slow

RESTARTS = 5
UP, DOWN = 1.5, 0.5
"""Seconds between two restarts, and of each."""

QUICK: dict[str, Any] = {
    "jobs_database_timeout": 2,
    "jobs_redispatch_after": 2,
    "jobs_redispatch_interval": 1,
}
SHORT_SILENCE: dict[str, Any] = {
    "jobs_heartbeat_interval": 0.3,
    "jobs_worker_timeout": 1.5,
    "jobs_reap_interval": 0.5,
}


@pytest.fixture
def open_office(fragile_url: str, broker_url: str, tmp_path: Path) -> Iterator[NewOffice]:
    """Opens an office on a server that the test may stop, `open_office(**settings)`."""
    with ExitStack() as stack:
        opened: list[Office] = []

        def new(**settings: Any) -> Office:
            opened.append(stack.enter_context(Office(broker_url, fragile_url, tmp_path, **settings)))
            return opened[-1]

        yield new
        for office in opened:
            office.assert_sound()


@dataclass
class Caller:
    """A thread that enqueues as fast as it can, and keeps what it was told and after how long."""

    office: Office
    name: str
    notes: Path
    returned: list[str] = field(default_factory=list)
    raised: list[tuple[Exception, float]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._call)
        self.thread.start()

    def _call(self) -> None:
        number = 0
        while not self.stopping.wait(0.02):
            number += 1
            started = time.monotonic()
            try:
                self.returned.append(self.office.send("note", f"{self.name}-{number}", str(self.notes)))
            except Exception as error:
                self.raised.append((error, time.monotonic() - started))

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()


def live(office: Office) -> int:
    """How many jobs have not ended."""
    with office.db.reading() as connection:
        return len(connection.execute(jobs.select().where(jobs.c.finished_at.is_(None))).all())


@pytest.mark.matrix
def test_restarted_every_two_seconds_under_load_it_loses_nothing_and_nobody_waits(
    own_postgres: Postgres, open_office: NewOffice, tmp_path: Path
) -> None:
    office, notes = open_office(**QUICK), tmp_path / "notes"
    worker = office.worker(concurrency=2)
    children = worker.children()
    callers = [Caller(office, name, notes) for name in ("ann", "bob")]
    try:
        for _ in range(RESTARTS):
            time.sleep(UP)
            own_postgres.kill()
            time.sleep(DOWN)
            own_postgres.start()
    finally:
        for caller in callers:
            caller.stop()
    returned = [job_id for caller in callers for job_id in caller.returned]
    raised = [told for caller in callers for told in caller.raised]
    wait_until(lambda: live(office) == 0, 60, lambda: f"{live(office)} jobs have not ended", worker)
    ends = [[(row.status, row.final_status, row.losses) for row in office.attempts(job_id)] for job_id in returned]
    assert Counter(map(tuple, ends)) == {(("completed", "success", 0),): len(returned)}
    assert Counter(Counter(notes.read_text().split()).values()).keys() == {1}
    assert Counter(type(error) for error, _ in raised) == {StoreUnavailable: len(raised)}
    assert raised
    assert max(seconds for _, seconds in raised) < 3
    assert (worker.process.poll(), worker.children()) == (None, children)


def stay_away(server: Postgres, office: Office, folder: Path, seconds: float) -> None:
    """A job runs when the database goes, and its body ends halfway through the time that it is away."""
    with a_job_that_ends_meanwhile(office, folder):
        server.kill()
        time.sleep(seconds / 2)
        let_it_end(office, folder)
        time.sleep(seconds / 2)
        server.start()


@pytest.mark.matrix
def test_gone_for_longer_than_a_workers_silence_is_borne_it_is_told_of_the_end_of_what_ran(
    own_postgres: Postgres, open_office: NewOffice, tmp_path: Path
) -> None:
    stay_away(own_postgres, open_office(**SHORT_SILENCE), tmp_path, 6)


@pytest.mark.matrix
@pytest.mark.timeout(240)
def test_gone_for_two_minutes_it_is_told_of_the_end_of_what_ran(
    own_postgres: Postgres, open_office: NewOffice, tmp_path: Path
) -> None:
    stay_away(own_postgres, open_office(), tmp_path, 120)
