"""Waiting for a run's end: it is looked at again and again, less often as time goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery_jobs.errors import WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.runs import Run

__all__ = ["wait_for_end"]

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks, doubling."""


def wait_for_end(look: Callable[[], Run], timeout: float | None) -> Run:
    """The run, once it has ended; raises WaitTimeout where it has not after `timeout` seconds."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while not (run := look()).has_ended:
        left = LONGEST_PAUSE if until is None else until - time.monotonic()
        if left <= 0:
            raise WaitTimeout(f"the job {run.id} is still {run.final_status or run.status} after {timeout:g} s")
        time.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE)
    return run
