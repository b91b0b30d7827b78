"""Tasks with a `Request` class of their own, as Celery's guide shows them: theirs goes first, ours behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.utils.imports import symbol_by_name

from celery_jobs.worker.request import JobRequest

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["mix_requests"]


def mix_requests(app: Celery) -> None:
    """Mix our class into those of the app's jobs, before Celery makes the worker's own of them."""
    for task in app.tasks.values():
        if getattr(task, "is_job", False):
            own = symbol_by_name(task.Request)
            if not issubclass(own, JobRequest):
                task.Request = type(own.__name__, (own, JobRequest), {})
