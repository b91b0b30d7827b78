"""Tasks that leave nothing else in their process a turn."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.shop import app

__all__ = ["app"]


def note(file: str) -> None:
    with Path(file).open("a") as notes:
        notes.write("started\n")


@app.task
def spin(started: str, seconds: float) -> None:
    """Compute in Python, which lets other threads in between."""
    note(started)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@app.task
def hold_the_gil(started: str, seconds: float) -> None:
    """Compute in long calls of C, which let no other thread in."""
    note(started)
    until, size = time.monotonic() + seconds, 10_000_000
    while (rest := until - time.monotonic()) > 0:
        begun = time.monotonic()
        sum(range(size))
        size = round(size * rest / (time.monotonic() - begun))
