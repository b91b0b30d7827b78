"""Tasks for the stories of lost workers."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from asyncio import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celery_jobs
from tests.faults.shops import new_shop

if TYPE_CHECKING:
    from collections.abc import Callable

app = new_shop(
    "shop",
    "SHOP_SETTINGS",
    jobs_queue_defaults={"retry_delays": [0.2]},
    jobs_heartbeat_interval=0.3,
    jobs_worker_timeout=1.5,
    jobs_reap_interval=0.5,
)

MIB = 1024**2


def settings(**values: Any) -> dict[str, str]:
    """The environment of a worker with these settings, which a busy machine does not make pass for dead."""
    return {"SHOP_SETTINGS": json.dumps({"jobs_worker_timeout": 60, **values})}


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


def leave_mark(file: str) -> int:
    """Add a mark to a file, which outlives a killed process; gives how many it has."""
    with Path(file).open("a") as marks:
        marks.write(f"{os.getpid()}\n")
    return len(Path(file).read_text().split())


def crash(by: Callable[[], object]) -> None:
    """End the process by a signal, without leaving a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    by()


def raise_it(error: BaseException) -> None:
    raise error


def exceed_limit() -> None:
    """Ask for more memory than the process may have."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 256 * MIB, before[1]))
    try:
        bytearray(1024 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


WAYS: dict[str, Callable[[], object]] = {
    "sys.exit": lambda: sys.exit(3),
    "KeyboardInterrupt": lambda: raise_it(KeyboardInterrupt()),
    "CancelledError": lambda: raise_it(CancelledError()),
    "MemoryError": lambda: bytearray(1024**5),
    "RLIMIT_AS": exceed_limit,
    "NoRetry": lambda: raise_it(celery_jobs.NoRetry("hopeless")),
    "os._exit": lambda: os._exit(3),
    "os.abort": lambda: crash(os.abort),
    "SIGSEGV": lambda: crash(lambda: ctypes.string_at(0)),
}
"""Ways in which a task ends other than by returning or failing to be retried."""


@app.task
def ends(way: str, file: str, times: int = 99) -> int:
    """End in this way at the first `times` runs."""
    runs = leave_mark(file)
    if runs <= times:
        WAYS[way]()
    return runs


@app.task
def eats(group: str | None, file: str) -> None:
    """Use more memory than a group of processes may have, for which the kernel kills; without a group be killed."""
    leave_mark(file)
    if group is not None:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
        bytearray(512 * MIB).replace(b"\0", b"x")
    os.kill(os.getpid(), signal.SIGKILL)
