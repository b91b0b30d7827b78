"""install(app): the whole set-up of the plugin on a Celery app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.imports import symbol_by_name

from celery_jobs.errors import NotInstalled
from celery_jobs.installation import ensure_installed
from celery_jobs.plugin import ATTRIBUTE
from celery_jobs.task import JobTask

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.plugin import Plugin

__all__ = ["install"]


def install(app: Celery) -> Plugin:
    """Make every task of `app` a job. Call it once, where the app is made, before its first task is used.

    Raises NotInstalled where it is too late, or done already, and says how to mend it.
    """
    if hasattr(app, ATTRIBUTE):
        raise NotInstalled(f"celery-jobs is installed on {app!r} already; call install(app) once, or use the shortcuts")
    _set_task_class(app)
    return ensure_installed(app)


def _set_task_class(app: Celery) -> None:
    custom = symbol_by_name(app.task_cls)
    made: Any = app.__dict__.get("Task")
    if made is not None and not issubclass(made, JobTask):
        raise NotInstalled(
            f"install(app) comes too late for {app!r}: a task has been used already and has Celery's class; "
            "call it right where the app is made, before any task is called or the app is finalized"
        )
    if not issubclass(custom, JobTask):
        default = custom.__module__ == "celery.app.task"
        app.task_cls = JobTask if default else type(custom.__name__, (custom, JobTask), {"abstract": True})
