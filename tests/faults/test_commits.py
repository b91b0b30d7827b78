"""A signal that comes exactly while an attempt's own transaction commits: the attempt has one outcome all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs, NoRetry
from tests.faults.shop import settings
from tests.processes import wait_until
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery

    from celery_jobs import Run
    from tests.processes import Worker

    NewWorker = Callable[..., Worker]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("db"),
    pytest.mark.parametrize("database_url", BOTH, indirect=True),
]

LIMIT = 1.0
"""Seconds; of a task that takes none."""

HANG = 2.0
"""Seconds that a transaction hangs before its commit."""


@pytest.fixture
def start_struck(start: NewWorker, tmp_path: Path) -> NewWorker:
    """Starts a worker that is struck once, `start_struck("complete.written:kill")`."""

    def new(fault: str) -> Worker:
        arms = {
            "CELERY_JOBS_FAILPOINT": fault,
            "CELERY_JOBS_FAILPOINT_STRUCK": str(tmp_path / "struck"),
            "CELERY_JOBS_FAILPOINT_SECONDS": str(HANG),
        }
        return start(concurrency=2, env=arms | settings())

    return new


def enqueue(app: Celery, file: Path, way: str = "", times: int = 0, **options: Any) -> Any:
    """A job that notes its runs and gives how many there have been, or ends in this way so many times."""
    return app.send_task("tests.faults.shop.ends", (way, str(file), times), **options)


def ended(app: Celery, result: Any, worker: Worker) -> Run:
    jobs = Jobs(app)
    return wait_until(lambda: (run := jobs.get(result.id)).has_ended and run, 20, process=worker)


def outcomes(run: Run) -> list[tuple[str, str | None]]:
    return [(job.status, job.failure_reason) for job in run.attempts]


def goes_on(app: Celery, worker: Worker, file: Path) -> None:
    """The same worker runs what comes next, and no limit of before hits it.

    What the pool had given to a process that a limit then killed, it misses after 10 s, when it looks the next time.
    """
    following = [enqueue(app, file) for _ in range(4)]
    counted = [result.get(timeout=40) for result in following]
    # Two that run beside each other may both see the mark of either.
    assert max(counted) == 4
    assert len(file.read_text().split()) == 4
    assert worker.process.poll() is None


def test_a_process_killed_in_the_commit_of_its_end_runs_the_attempt_again(
    app: Celery, start_struck: NewWorker, tmp_path: Path
) -> None:
    worker = start_struck("complete.written:kill")
    result = enqueue(app, tmp_path / "runs")
    run = ended(app, result, worker)
    assert (outcomes(run), run.losses, run.result) == ([("completed", None)], 1, 2)
    assert result.get(timeout=40) == 1  # Celery keeps the first success that it hears of
    goes_on(app, worker, tmp_path / "following")


@pytest.mark.matrix
def test_a_soft_limit_in_the_commit_of_a_success_comes_too_late(
    app: Celery, start_struck: NewWorker, tmp_path: Path
) -> None:
    worker = start_struck("complete.written:hang")
    result = enqueue(app, tmp_path / "runs", soft_time_limit=LIMIT)
    run = ended(app, result, worker)
    assert "Soft time limit" in worker.log
    assert (outcomes(run), run.losses, run.result) == ([("completed", None)], 0, 1)
    assert result.get(timeout=40) == 1
    goes_on(app, worker, tmp_path / "following")


def test_a_soft_limit_in_the_commit_of_the_claim_ends_the_attempt_and_the_policy_retries_it(
    app: Celery, start_struck: NewWorker, tmp_path: Path
) -> None:
    worker = start_struck("claim.written:hang")
    result = enqueue(app, tmp_path / "runs", soft_time_limit=LIMIT)
    run = ended(app, result, worker)
    assert "Soft time limit" in worker.log
    assert (outcomes(run), run.losses) == ([("failed", "timeout"), ("completed", None)], 0)
    assert result.get(timeout=40) == 1
    goes_on(app, worker, tmp_path / "following")


@pytest.mark.matrix
def test_a_hard_limit_in_the_commit_of_a_success_comes_too_late_or_is_retried(
    app: Celery, start_struck: NewWorker, tmp_path: Path
) -> None:
    worker = start_struck("complete.written:hang")
    result = enqueue(app, tmp_path / "runs", time_limit=LIMIT)
    run = ended(app, result, worker)
    assert outcomes(run) in ([("completed", None)], [("failed", "timeout"), ("completed", None)])
    assert (run.final_status, run.losses, result.get(timeout=40)) == ("success", 0, 1)
    goes_on(app, worker, tmp_path / "following")


def test_a_hard_limit_in_the_commit_of_a_dead_letter_leaves_no_caller_waiting(
    app: Celery, start_struck: NewWorker, tmp_path: Path
) -> None:
    worker = start_struck("bury.written:hang")
    result = enqueue(app, tmp_path / "runs", "NoRetry", 1, time_limit=LIMIT)
    run = ended(app, result, worker)
    if run.final_status == "dead_lettered":
        with pytest.raises(NoRetry, match="hopeless"):
            result.get(timeout=40)
    else:  # the limit ended the attempt before its own end was committed
        assert outcomes(run) == [("failed", "timeout"), ("completed", None)]
        assert result.get(timeout=40) == 2
    goes_on(app, worker, tmp_path / "following")


@pytest.mark.matrix
def test_a_hard_limit_in_the_commit_of_the_claim_leaves_no_caller_waiting(
    app: Celery, start_struck: NewWorker, tmp_path: Path
) -> None:
    worker = start_struck("claim.written:hang")
    result = enqueue(app, tmp_path / "runs", time_limit=LIMIT)
    run = ended(app, result, worker)
    assert outcomes(run) in ([("completed", None)], [("failed", "timeout"), ("completed", None)])
    assert (run.final_status, result.get(timeout=40)) == ("success", 1)
    goes_on(app, worker, tmp_path / "following")
