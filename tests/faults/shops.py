"""What the apps of this folder's worker processes have in common: where they work, told by the environment."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

import celery_jobs

__all__ = ["new_shop"]


def new_shop(name: str, variable: str = "", **settings: Any) -> Celery:
    """An app with the URLs of the environment, and with more settings, in JSON, of the variable so named."""
    app = Celery(name)
    app.conf.update(
        broker_url=os.environ.get("CELERY_BROKER_URL"),
        result_backend=os.environ.get("CELERY_RESULT_BACKEND", os.environ.get("CELERY_BROKER_URL")),
        jobs_database_url=os.environ.get("JOBS_DATABASE_URL", "sqlite:///unused.sqlite3"),
        broker_connection_retry_on_startup=True,
        **settings,
    )
    app.conf.update(json.loads(os.environ.get(variable, "{}")))
    celery_jobs.install(app)
    return app
