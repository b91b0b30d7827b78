"""Its Celery app, as Celery's documentation makes it, with the one line."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

import celery_jobs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.neighbours.project.settings")

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
celery_jobs.install(app)


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="fails")
def fails() -> None:
    raise ValueError("no")


@app.task(name="works_later", bind=True)
def works_later(self: Any, value: int = 42) -> int:
    if self.request.retries == 0:
        raise ConnectionError("not yet")
    return value
