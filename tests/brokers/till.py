"""A shop with jobs and plain Celery tasks, whose worker says whether it gathers what it tells its broker."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from celery import Task
from celery.signals import worker_ready

from celery_jobs import settings
from tests.faults.shops import new_shop

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

settings.RUNAWAY_GRACE = 1  # not half a minute, for the pools without time limits

app = new_shop("till", "TILL_SETTINGS", jobs_heartbeat_interval=0.5, jobs_worker_timeout=60)

PAUSE = 0.05


def note(notes: str, name: str) -> None:
    """Add a line to a file; one write, so that processes do not mix theirs."""
    with Path(notes).open("a") as file:
        file.write(f"{name}\n")


@app.task
def sell(notes: str, name: str) -> None:
    """A job."""
    note(notes, name)


@app.task
def pack(notes: str, name: str) -> None:
    """A job that takes a while."""
    note(notes, name)
    time.sleep(PAUSE)


@app.task(base=Task, ignore_result=True)
def greet(notes: str, name: str) -> None:
    """No job: of it Celery knows all that there is to know."""
    note(notes, name)


@worker_ready.connect
def say(sender: Consumer, **_: object) -> None:
    """Say how the channel that fetches and acknowledges does so."""
    qos = getattr(sender.task_consumer.channel, "qos", None)
    Path(os.environ["TILL_SAYS"]).write_text(f"{'append' in getattr(qos, '__dict__', {})}")
