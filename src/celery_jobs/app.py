"""install(app): the whole set-up of the plugin on a Celery app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.imports import symbol_by_name

from celery_jobs import beat, events, logs
from celery_jobs.errors import NotInstalled
from celery_jobs.plugin import ATTRIBUTE, Plugin
from celery_jobs.publishing import install_seams
from celery_jobs.task import JobTask

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ensure_installed", "install"]

WORKER_STEP = "celery_jobs.worker.step:JobsStep"


def install(app: Celery) -> Plugin:
    """Make every task of `app` a job. Call it once, where the app is made, before its first task is used.

    Raises NotInstalled where it is too late, or done already, and says how to mend it.
    """
    if hasattr(app, ATTRIBUTE):
        raise NotInstalled(f"celery-jobs is installed on {app!r} already; call install(app) once, or use the shortcuts")
    _set_task_class(app)
    return _install(app)


def ensure_installed(app: Celery) -> Plugin:
    """Install the plugin on an app whose tasks name JobTask as their class, if it is not there yet."""
    plugin: Plugin | None = getattr(app, ATTRIBUTE, None)
    return _install(app) if plugin is None else plugin


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


def _install(app: Celery) -> Plugin:
    plugin = Plugin(app)
    setattr(app, ATTRIBUTE, plugin)
    if logs.log not in events.subscribers():
        events.subscribe(logs.log)
    install_seams(plugin)
    app.steps["worker"].add(WORKER_STEP)
    beat.install(plugin)
    return plugin
