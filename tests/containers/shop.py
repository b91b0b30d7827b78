"""The tasks of the worker in a container: they tell of their runs, and wait, by way of the result store."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import shared_task


def noted(task: Any, name: str) -> Any:
    """Note a run with its process; gives the client of the result store."""
    client = task.app.backend.client
    client.rpush(f"runs of {name}", os.getpid())
    return client


def held(task: Any, name: str) -> str:
    """Note a run and go on until the test lets go."""
    client = noted(task, name)
    while not client.exists(f"let go of {name}"):
        time.sleep(0.02)
    return name


@shared_task(bind=True)
def note(self: Any, name: str, seconds: float = 0) -> str:
    """Be seen to run, for so long."""
    noted(self, name)
    time.sleep(seconds)
    return name


@shared_task(bind=True)
def hold(self: Any, name: str) -> str:
    """Run until the test lets go."""
    return held(self, name)


@shared_task(bind=True, acks_late=True)
def hold_unacknowledged(self: Any, name: str) -> str:
    """The same, its message acknowledged only at the end."""
    return held(self, name)
