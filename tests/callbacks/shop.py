"""The shop of the callbacks' stories: the worker process and the tests make the same app of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery_jobs import Cancelled
from tests import apps

if TYPE_CHECKING:
    from celery import Celery

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CONF = "CALLBACK_SHOP_CONF"
"""The variable with settings of the worker's own, as JSON."""


def make_app(broker_url: str, database_url: str, **conf: Any) -> Celery:
    settings: dict[str, Any] = {
        "jobs_callback_secrets": [SECRET],
        "jobs_http_allowed_addresses": ["127.0.0.0/8"],
        "jobs_promote_interval": 1,
        "jobs_reap_interval": 1,
        "jobs_redispatch_interval": 1,
        "jobs_heartbeat_interval": 1,
        "jobs_worker_timeout": 20,
    }
    app = apps.make_app(broker_url, database_url, **{**settings, **conf})
    for task in (works, works_on_attempt, fails, waits_for, stops):
        app.task(name=task.__name__, bind=task is works_on_attempt, shared=False)(task)
    app.finalize()
    return app


def app_of_the_worker() -> Celery:
    return make_app(
        os.environ["SHOP_BROKER_URL"], os.environ["SHOP_DATABASE_URL"], **json.loads(os.environ.get(CONF, "{}"))
    )


def works(value: Any = "done") -> Any:
    return value


def works_on_attempt(self: Any, number: int) -> str:
    if self.request.retries + 1 < number:
        raise ValueError(f"attempt {self.request.retries + 1} fails: Zoë, 東京")
    return "at last"


def fails() -> None:
    raise ValueError("always")


def waits_for(file: str) -> str:
    deadline = time.monotonic() + 20
    while not Path(file).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return "waited"


def stops() -> None:
    raise Cancelled("by itself")
