"""Tasks whose chains are ended by somebody other than the worker that ran them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.faults.shops import new_shop

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

app = new_shop("judged", **QUICK)


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
