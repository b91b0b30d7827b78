"""The app of these tests: its tasks, and itself where a process of its own loads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tests.apps import make_app

if TYPE_CHECKING:
    from celery import Celery

ADD, FAIL, FLAKY = "shop.add", "shop.fail", "shop.flaky"


def make_shop(broker_url: str, database_url: str, **conf: Any) -> Celery:
    """An app with a task that works, one that always fails, one that works at its second attempt, and a pull queue."""
    queues = {"plain": {"retries_enabled": False}, "crates": {"mode": "pull"}}
    app = make_app(broker_url, database_url, **{"jobs_queues": queues, **conf})

    @app.task(name=ADD, shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name=FAIL, shared=False)
    def fail(reason: str = "card declined") -> None:
        raise ValueError(reason)

    @app.task(name=FLAKY, shared=False, bind=True)
    def flaky(self: Any) -> str:
        if self.request.retries == 0:
            raise ValueError("not yet")
        return "done"

    app.finalize()
    return app


def __getattr__(name: str) -> Celery:
    """The app of a process: its servers are named in the environment."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = make_shop(os.environ["CELERY_BROKER_URL"], os.environ["JOBS_DATABASE_URL"])
    return app
