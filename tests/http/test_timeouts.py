"""A queue's `timeout` ends its Python tasks as well: softly, then by force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import settings

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs import Jobs, Run

pytestmark = pytest.mark.slow

TIMEOUT = 2
"""Seconds, of the queue `strict`."""


def ended(jobs: Jobs, name: str, *args: Any, **options: Any) -> Run:
    return jobs.wait(jobs.enqueue(name, args, **{"queue": "strict", **options}).id, 30)


@pytest.mark.matrix
def test_a_task_that_takes_too_long_is_told_and_then_ended(jobs: Jobs) -> None:
    stubborn = jobs.enqueue("naps_on", queue="strict")
    run = ended(jobs, "naps", 60)
    assert (run.failure_reason, run.error_type) == ("timeout", "billiard.exceptions.SoftTimeLimitExceeded")
    # The pool counts from when it takes the job, which is claimed a little later.
    assert (TIMEOUT - 1) * 1000 < (run.duration_ms or 0) < (TIMEOUT + 5) * 1000
    run = jobs.wait(stubborn.id, 40)
    assert (run.failure_reason, run.error_type) == ("timeout", "TimeLimitExceeded")
    assert run.error_message == f"hard time limit of {float(TIMEOUT + settings.TIMEOUT_GRACE):g} s"


def test_what_the_caller_or_the_task_says_goes_before(jobs: Jobs) -> None:
    first = jobs.enqueue("naps", [TIMEOUT + 0.5], queue="strict", soft_time_limit=60)
    assert ended(jobs, "naps_by_itself", TIMEOUT + 0.5).result == "rested"
    assert jobs.wait(first.id, 40).result == "rested"


def test_other_queues_have_all_the_time(shop: Celery, jobs: Jobs) -> None:
    assert ended(jobs, "naps", 0.1, queue="once").result == "rested"
    assert ended(jobs, "naps", 0.1).result == "rested"
