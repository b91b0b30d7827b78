"""One app without and with the plugin, as it is before and after the one line; worker processes load it as `app`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.apps import make_app

if TYPE_CHECKING:
    from celery import Celery

TRIAL = {"retries_enabled": False}
ADOPTED = "SHOP_ADOPTED"
"""Names the settings of a worker process that has the plugin; without it the worker has it not."""


def make_shop(broker_url: str, database_url: str, adopted: bool, **settings: Any) -> Celery:
    """The app, its tasks beneath the one line or without it."""
    app = make_app(broker_url, database_url, install=adopted, **{"jobs_queue_defaults": TRIAL, **settings})

    @app.task(name="shop.mark", shared=False)
    def mark(file: str, line: str) -> str:
        with Path(file).open("a") as marks:
            marks.write(f"{line} {'new' if adopted else 'old'}\n")
        return line

    @app.task(name="shop.mark_slowly", shared=False)
    def mark_slowly(file: str, line: str) -> None:
        """Leaves a mark when it begins, and another once a file is there that is named by both."""
        app.tasks["shop.mark"].run(file, f"{line} begun")
        deadline = time.monotonic() + 30
        while not Path(f"{file}.{line}").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(line)
            time.sleep(0.02)
        app.tasks["shop.mark"].run(file, line)

    @app.task(name="shop.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="shop.total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="shop.fail", shared=False)
    def fail() -> None:
        raise ValueError("no")

    @app.task(name="shop.mark_later", shared=False)
    def mark_later(file: str, line: str) -> None:
        app.tasks["shop.mark"].delay(file, line)

    @app.task(name="shop.mark_at_second", bind=True, shared=False, retry_delays=[3600])
    def mark_at_second(self: Any, file: str, line: str) -> None:
        if self.request.retries == 0:
            raise ValueError("for the retry")
        app.tasks["shop.mark"].run(file, line)

    app.finalize()
    return app


def __getattr__(name: str) -> Celery:
    """The app of a worker process: its servers are named in the environment."""
    if name != "app":
        raise AttributeError(name)
    settings = os.environ.get(ADOPTED)
    urls = os.environ["CELERY_BROKER_URL"], os.environ["JOBS_DATABASE_URL"]
    globals()["app"] = app = make_shop(*urls, adopted=settings is not None, **json.loads(settings or "{}"))
    return app
