"""The app of these tests: its tasks, and itself where a process of its own loads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.apps import make_app

if TYPE_CHECKING:
    from celery import Celery

NASTY = "\x1b[31mred\x1b]0;title\x07 [bold]loud[/bold] \u202eback"
"""What would write on a terminal, and in Rich's markup."""


def make_shop(broker_url: str, database_url: str) -> Celery:
    """An app with two tasks, of which one always fails, and a queue without retries."""
    queues = {"plain": {"retries_enabled": False}}
    app = make_app(broker_url, database_url, jobs_queue_defaults={"retry_delays": []}, jobs_queues=queues)

    @app.task(name="cli.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="cli.fail", shared=False)
    def fail(reason: str) -> None:
        raise ValueError(reason)

    return app


def __getattr__(name: str) -> Celery:
    """The app of a process: its servers are named in the environment."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = make_shop(os.environ["CELERY_BROKER_URL"], os.environ["JOBS_DATABASE_URL"])
    return app
