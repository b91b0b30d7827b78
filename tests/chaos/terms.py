"""What the shop and the checker must agree on: the settings' numbers, what a job returns, the environment's names."""

from __future__ import annotations

HEARTBEAT = 0.5
WORKER_TIMEOUT = 2.5
REAP = 0.7
REDISPATCH_INTERVAL = 1.0
REDISPATCH_AFTER = 1.5
RETRY_DELAYS = (0.5, 1.0)
MAX_LOSSES = 3
HARD_LIMIT = 3.0
SOFT_LIMIT = 1.0
"""Seconds; of jobs that overrun it."""

LONGEST_REDISPATCH = REDISPATCH_AFTER * 32
DRAIN_SECONDS = WORKER_TIMEOUT + REAP + LONGEST_REDISPATCH + sum(RETRY_DELAYS) + HARD_LIMIT + 30
"""The bound of the time from the healing to the last verdict."""

FIRST_PROBE = 1_000_000
"""Numbers from here on are probes: one for each worker that is up at the end."""

LOG = "CELERY_JOBS_CHAOS_LOG"
SENT = "CELERY_JOBS_CHAOS_SENT"
BROKEN = "CELERY_JOBS_CHAOS_BROKEN"
BARE = "CELERY_JOBS_CHAOS_BARE"
SLOT = "CELERY_JOBS_CHAOS_SLOT"


def answer(number: int) -> int:
    """What the job of this number returns: no two near ones alike."""
    return number * 2_654_435_761 % 2**32
