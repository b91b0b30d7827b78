"""The demo's Celery app: a shop whose tasks fail now and then, as real ones do.

It reads the `celeryconfig` of the working folder, as a user's app would. The tour sets CELERY_JOBS_DEMO to its data
folder: then waits and intervals are seconds, and a celeryconfig that is not the reference one stays out of it.
"""

from __future__ import annotations

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from celery import Celery

import celery_jobs
from celery_jobs import beat
from celery_jobs.settings import Settings

__all__ = ["DEMO_VARIABLE", "OUTAGE", "SHORTAGE", "app"]

DEMO_VARIABLE = "CELERY_JOBS_DEMO"
"""The environment variable that names the tour's data folder."""

OUTAGE = Path(os.environ.get(DEMO_VARIABLE, ""), "warehouse-is-down")
"""While this file exists the warehouse does not answer."""

SHORTAGE = Path(os.environ.get(DEMO_VARIABLE, ""), "memory-is-short")
"""If this file exists the next report's process is killed."""

WORK_SECONDS = 0.4
"""What the work of a task takes, so that one can see it run."""

REFERENCE = Path(__file__).parents[3] / "celeryconfig.py"

BUILT_IN = {
    "broker_url": "redis://localhost:6379/0",
    "result_backend": "redis://localhost:6379/0",
    "jobs_database_url": os.environ.get("JOBS_DATABASE_URL", "sqlite:///celery-jobs.sqlite3"),
    "broker_connection_retry_on_startup": True,
    "task_send_sent_event": True,
    "worker_send_task_events": True,
}
"""Where there is no celeryconfig. Celery itself looks for CELERY_BROKER_URL and CELERY_RESULT_BACKEND."""

IN_SECONDS: dict[str, Any] = {"promote_interval": 2.0, "redispatch_interval": 5.0, "reap_interval": 5.0}
"""The tour's intervals of the services; nobody watches for a minute."""


def _configure(app: Celery) -> None:
    demo = DEMO_VARIABLE in os.environ
    config = find_spec("celeryconfig")
    foreign = config is None or (demo and config.origin != str(REFERENCE))
    app.config_from_object(BUILT_IN if foreign else "celeryconfig")
    if demo:
        app.conf.update(
            {f"jobs_{name}": seconds for name, seconds in IN_SECONDS.items()},
            jobs_queue_defaults={"retry_delays": [1, 2]},
            beat_schedule=beat.beat_schedule(Settings(**IN_SECONDS)),
        )


app = Celery("shop")
celery_jobs.install(app)
_configure(app)


@app.task(name="resize_image")
def resize_image(name: str, width: int) -> str:
    """Work at once."""
    time.sleep(WORK_SECONDS)
    return f"{Path(name).stem}-{width}.webp"


@app.task(name="charge_card", bind=True)
def charge_card(self: Any, order: int, cents: int) -> str:
    """Fail twice, then work: the bank answers at the third try."""
    time.sleep(WORK_SECONDS)
    if self.request.retries < 2:
        raise TimeoutError("the bank did not answer")
    return f"order {order}: {cents / 100:.2f} paid"


@app.task(name="sync_inventory")
def sync_inventory(warehouse: str) -> str:
    """Fail for as long as the warehouse is down."""
    time.sleep(WORK_SECONDS)
    if OUTAGE.exists():
        raise ConnectionError("the warehouse is down")
    return f"{warehouse} synced"


@app.task(name="build_report")
def build_report(month: str) -> str:
    """Lose the process that runs it, once, where memory is short."""
    time.sleep(WORK_SECONDS)
    if SHORTAGE.exists():
        SHORTAGE.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{month}: 312 orders"


@app.task(name="send_receipt")
def send_receipt(order: int) -> str:
    """Send what must be sent once, however often it is asked for."""
    time.sleep(WORK_SECONDS)
    return f"receipt {order} sent"


@app.task(name="send_reminder")
def send_reminder(customer: str) -> str:
    """Send what is due later."""
    time.sleep(WORK_SECONDS)
    return f"{customer} reminded"
