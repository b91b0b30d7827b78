"""A caller in greenlets, told when its database is frozen: `python -m tests.pools.frozen_database POOL URL`."""

from __future__ import annotations

import sys
import time
from typing import Any


def patched(pool: str) -> Any:
    """Make this process one of greenlets; gives what starts one."""
    if pool == "gevent":
        from gevent import monkey, spawn

        monkey.patch_all()
    else:
        from eventlet import monkey_patch, spawn

        monkey_patch()
    return spawn


def main(pool: str, database_url: str) -> None:
    spawn = patched(pool)
    from tests.apps import make_app

    app = make_app("memory://", database_url, jobs_database_timeout=2, result_backend="cache+memory://")
    app.send_task("anything", ignore_result=True)
    print("ready", flush=True)
    sys.stdin.readline()
    turns: list[float] = []

    def look_busy() -> None:
        while True:
            turns.append(time.monotonic())
            time.sleep(0.05)

    spawn(look_busy)
    begun = time.monotonic()
    try:
        app.send_task("anything", ignore_result=True)
    except Exception as error:
        print(type(error).__name__, time.monotonic() - begun, len(turns), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
