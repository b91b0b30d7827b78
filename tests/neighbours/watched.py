"""A shop that Sentry watches, as its worker and beat load it: what Sentry would be sent goes to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sentry_sdk
from celery import Celery
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.transport import Transport

import celery_jobs

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope


class Recorder(Transport):
    """Writes a line for each item that would be sent."""

    def capture_envelope(self, envelope: Envelope) -> None:
        items = [{"type": str(item.type), **(item.payload.json or {})} for item in envelope.items]
        lines = "".join(f"{json.dumps(item)}\n" for item in items)
        with Path(os.environ["SENTRY_RECORD"]).open("ab", buffering=0) as record:
            record.write(lines.encode())  # at once: the processes of the shop write side by side


app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    jobs_database_url=os.environ["JOBS_DATABASE_URL"],
    jobs_database_timeout=10,
    jobs_queue_defaults={"retry_delays": [0.1]},
    beat_schedule={"close-the-books": {"task": "close_the_books", "schedule": 60.0}},
    broker_connection_retry_on_startup=True,
)
celery_jobs.install(app)
# After the app was made, as where a factory imports it and then sets up Sentry.
sentry_sdk.init(
    dsn="https://key@sentry.example/1",
    transport=Recorder,
    traces_sample_rate=1.0,
    integrations=[
        CeleryIntegration(monitor_beat_tasks=True, exclude_beat_tasks=json.loads(os.environ["SENTRY_EXCLUDE"]))
    ],
)


@app.task(name="works_later", bind=True)
def works_later(self: Any) -> str:
    if self.request.retries == 0:
        raise ConnectionError("not yet")
    return "done"


@app.task(name="fails")
def fails() -> None:
    raise ValueError("no")


@app.task(name="autoretries", autoretry_for=(KeyError,), max_retries=1, default_retry_delay=0)
def autoretries() -> None:
    raise KeyError("gone")


@app.task(name="orders")
def orders() -> list[str]:
    return [works_later.delay().id, app.send_task("works_later").id]


@app.task(name="close_the_books", bind=True)
def close_the_books(self: Any) -> None:
    if self.request.retries == 0:
        raise ConnectionError("not yet")


@app.task(name="hush")
def hush() -> None:
    ignore_logger("celery_jobs")
