"""The points themselves: all told, off unless armed, and what their first strikes have found."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import Connection

from celery_jobs import failpoints
from celery_jobs.events import Event, Kind, subscribe, unsubscribe
from celery_jobs.store import endings, reads
from celery_jobs.store.prepared import Prepared
from tests.apps import working
from tests.failpoints.shop import SAFE_SECONDS
from tests.failpoints.stories import STORIES
from tests.processes import SOURCE, wait_until

if TYPE_CHECKING:
    from tests.failpoints.stage import Stage


def test_every_point_has_a_story() -> None:
    assert {point for story in STORIES.values() for point in story.points} == set(failpoints.POINTS)


def test_no_point_is_armed_by_itself() -> None:
    assert failpoints.armed is None


def test_an_enqueue_is_one_statement_where_nothing_is_armed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which commits by itself; a point between a statement and its commit needs a transaction to strike in."""
    alone: list[str] = []

    def note(statement: Prepared, connection: Any, *values: Any) -> Any:
        alone.append("transaction" if isinstance(connection, Connection) else "alone")
        return first(statement, connection, *values)

    first = Prepared.first
    monkeypatch.setattr(Prepared, "first", note)
    stage.enqueue("job", "return")
    with failpoints.striking("cancel.begun", "lose") as struck:
        stage.enqueue("another", "return")
    assert (alone, struck) == ([] if stage.db.is_sqlite else ["alone", "transaction"], [])


@pytest.mark.parametrize("text", ["", "claim", "claim.begun", "claim.begun:melt", "nowhere:kill"])
def test_what_is_no_point_and_kind_is_refused_at_the_start(text: str) -> None:
    started = subprocess.run(
        [sys.executable, "-c", "import celery_jobs.failpoints"],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "CELERY_JOBS_FAILPOINT": text},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 1
    assert "ValueError: CELERY_JOBS_FAILPOINT: point:kind is expected, of ('enqueue.begun', " in started.stderr
    assert f"not {text!r}" in started.stderr


def test_an_attempt_whose_claim_was_answered_late_tells_nobody_of_an_end_that_is_not_its_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_JOBS_FAILPOINT_SECONDS", str(2 * SAFE_SECONDS))
    fenced: list[Event] = []
    note = lambda told: fenced.append(told) if told.kind is Kind.FENCED else None  # noqa: E731
    subscribe(note)
    try:
        job_id = stage.enqueue("job", "return")
        with failpoints.striking("claim.committed", "hang") as struck, working(stage.app):
            wait_until(lambda: struck)
            (job,) = reads.attempts(stage.db, job_id)
            assert endings.lose(stage.db, job_id, 3, lease_token=job.lease_token) is True
            wait_until(lambda: fenced)
        assert stage.app.AsyncResult(job.task_id).state == "PENDING"
    finally:
        unsubscribe(note)
