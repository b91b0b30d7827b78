"""A shop whose tasks wait as tasks in any pool do, for the workers and the callers of the stories of pools."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from celery_jobs import settings
from tests.faults.shops import new_shop

SETTINGS = "SHOP_SETTINGS"

settings.RUNAWAY_GRACE = 1  # not half a minute, for the pools without time limits

app = new_shop(
    "shop",
    SETTINGS,
    jobs_queue_defaults={"retry_delays": [0.2, 0.4]},
    jobs_heartbeat_interval=0.5,
    jobs_worker_timeout=10,
    jobs_reap_interval=1,
    jobs_promote_interval=1,
    jobs_redispatch_interval=1,
    jobs_redispatch_after=5,
    # Without it Celery makes a connection to its result store for each greenlet.
    result_backend_thread_safe=True,
    jobs_http_allowed_addresses=["127.0.0.0/8"],
)

PAUSE = 0.1
"""Seconds between two looks for a gate: a hundred greenlets look one after the other."""


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True)
def works_on_attempt(self: Any, number: int, value: int = 1) -> int:
    attempt = self.request.retries + 1
    if attempt < number:
        raise ValueError(f"attempt {attempt} fails")
    return value


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def waits_for(gate: str, notes: str, name: str) -> str:
    """Note that it started, and wait for a file."""
    with Path(notes).open("a") as file:
        file.write(f"{name}\n")
    while not Path(gate).exists():
        time.sleep(PAUSE)
    return name


@app.task(bind=True, time_limit=1)
def hangs_at_first(self: Any, gate: str) -> str:
    if self.request.retries == 0:
        waits_for(gate, os.devnull, "")
    return f"attempt {self.request.retries + 1}"


@app.task
def exits_at_first(notes: str) -> str:
    with Path(notes).open("a") as file:
        file.write("begun\n")
    if Path(notes).read_text().count("begun") == 1:
        sys.exit(3)
    return "stayed"
