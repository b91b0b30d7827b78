"""The Celery app, of the web server and of the workers."""

from __future__ import annotations

import os

from celery import Celery

import celery_jobs
from fastapi_app.database import URL

__all__ = ["celery_app"]

celery_app = Celery(
    "fastapi_app",
    # On a laptop another SQLite file; in production Redis or RabbitMQ.
    broker=os.environ.get("CELERY_BROKER_URL", "sqla+sqlite:///broker.sqlite3"),
    include=["fastapi_app.tasks"],
)
celery_jobs.install(celery_app)  # the one line
celery_app.conf.update(
    # Where the orders are: a transaction ends in one database.
    jobs_database_url=URL.render_as_string(hide_password=False),
    jobs_queue_defaults={"retry_delays": [1, 2]},  # seconds; in production rather the default
    broker_connection_retry_on_startup=True,
)
