"""A shop whose processes may have settings, and a clock, of their own: what differs is told by the environment."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import time_machine

from tests.faults.shops import new_shop

SETTINGS, CLOCK = "CLOCKWORK_SETTINGS", "CLOCKWORK_CLOCK"

if ahead := float(os.environ.get(CLOCK, "0")):
    # The wall clock only, of this process and of all that it forks; what the system measures goes on as ever.
    time_machine.travel(timedelta(seconds=ahead)).start()

app = new_shop("clockwork", SETTINGS)


@app.task
def note(file: str, text: str) -> str:
    """Add a line to a file: one for each time that a body starts."""
    with Path(file).open("a") as lines:
        lines.write(f"{text}\n")
    return text


@app.task(bind=True)
def flaky(self: Any, file: str, text: str) -> str:
    """Note that it started; fail the first time."""
    note(file, text)
    if self.request.retries == 0:
        raise ValueError("not yet")
    return text


@app.task
def wait_for_file(path: str, file: str, text: str) -> str:
    """Note that it started, and wait for another file."""
    note(file, text)
    while not Path(path).exists():
        time.sleep(0.02)
    return text


@app.task(bind=True)
def third_time(self: Any, file: str, gate: str) -> str:
    """Note each start; fail twice, and then wait for a file."""
    note(file, str(self.request.retries))
    if self.request.retries < 2:
        raise ValueError("not yet")
    while not Path(gate).exists():
        time.sleep(0.02)
    return "done"


@app.task(bind=True, max_retries=None)
def asks_again(self: Any, attempts: str) -> int:
    """Ask for a retry, with and without a countdown, until it is so many attempts."""
    done = int(self.request.retries) + 1
    if done < int(attempts):
        raise self.retry(countdown=done % 2)
    return done


@app.task(bind=True)
def asks_for_an_hour(self: Any) -> str:
    """Ask for a retry in an hour, once."""
    if self.request.retries == 0:
        raise self.retry(countdown=3600)
    return "an hour later"


@app.task
def fails_after_file(path: str) -> None:
    """Wait for a file, and fail."""
    while not Path(path).exists():
        time.sleep(0.02)
    raise ValueError("after all")
