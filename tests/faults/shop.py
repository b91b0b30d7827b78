"""Tasks for the stories of lost workers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

import celery_jobs

app = Celery("shop")
app.conf.update(
    broker_url=os.environ.get("CELERY_BROKER_URL"),
    result_backend=os.environ.get("CELERY_BROKER_URL"),
    jobs_database_url=os.environ.get("JOBS_DATABASE_URL", "sqlite:///unused.sqlite3"),
    jobs_queue_defaults={"retry_delays": [0.2]},
    jobs_heartbeat_interval=0.3,
    jobs_worker_timeout=1.5,
    jobs_reap_interval=0.5,
    broker_connection_retry_on_startup=True,
)
celery_jobs.install(app)


@app.task(bind=True)
def wait_for_file(self: Any, path: str, started: str) -> str:
    """Note that it started, and wait for a file."""
    with Path(started).open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not Path(path).exists():
        time.sleep(0.02)
    return "done"


@app.task
def add(x: int, y: int) -> int:
    return x + y
