"""Tasks whose chains are ended by somebody other than the worker that ran them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

import celery_jobs

QUICK: dict[str, Any] = {
    "jobs_queue_defaults": {"retry_delays": []},
    "jobs_heartbeat_interval": 0.3,
    "jobs_worker_timeout": 1.5,
    "jobs_reap_interval": 0.5,
    "jobs_redispatch_after": 0.3,
    "jobs_redispatch_interval": 0.5,
    "jobs_max_losses": 1,
    "jobs_max_refusals": 2,
}

app = Celery("judged")
app.conf.update(
    broker_url=os.environ.get("CELERY_BROKER_URL"),
    result_backend=os.environ.get("CELERY_BROKER_URL"),
    jobs_database_url=os.environ.get("JOBS_DATABASE_URL", "sqlite:///unused.sqlite3"),
    broker_connection_retry_on_startup=True,
    **QUICK,
)
celery_jobs.install(app)


def note(file: str, text: str) -> None:
    with Path(file).open("a") as notes:
        notes.write(f"{text}\n")


@app.task(name="judged.one")
def one() -> int:
    return 1


@app.task(name="judged.total")
def total(numbers: list[int], file: str) -> None:
    note(file, f"total {sum(numbers)}")


@app.task(name="judged.hang")
def hang(started: str, seconds: float = 60) -> int:
    note(started, "started")
    time.sleep(seconds)
    return 2


@app.task(name="judged.note_failure")
def note_failure(request: Any, error: BaseException, traceback: Any, file: str) -> None:
    note(file, type(error).__name__)
