"""The Celery app. What differs from place to place comes from the environment."""

from __future__ import annotations

import os

from celery import Celery

import celery_jobs

__all__ = ["QUEUE", "app"]

QUEUE = "webhooks"

app = Celery(
    "webhooks",
    broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0"),
    include=["webhooks.gone"],  # a worker must load what is to hear of its events
)
celery_jobs.install(app)
app.conf.update(
    jobs_database_url=os.environ.get("JOBS_DATABASE_URL", "sqlite:///webhooks.sqlite3"),
    jobs_queues={
        QUEUE: {
            "retry_delays": [10, 30, 120, 300, 900, 3600, 21600],  # eight attempts in 7 h 23 min
            "timeout": 10,  # seconds: as long may a receiver that hangs keep one process of a worker
            "dlq_retention_days": 30,  # failed deliveries can be replayed for so long
        }
    },
    # They sign every delivery, and stand in no row and no log; two with a space between while they rotate.
    jobs_callback_secrets=os.environ.get("WEBHOOK_SECRETS", "").split(),
    # Deliveries go to public addresses only: what is allowed here can be reached by whoever registers a URL.
    jobs_http_allowed_addresses=os.environ.get("WEBHOOK_ALLOWED_ADDRESSES", "").split(),
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,  # what waits behind a receiver that hangs is left to other workers
)
