"""What an installation puts into a Celery app: the seams, the worker's step, beat's entries, the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.utils.imports import symbol_by_name

from celery_jobs import beat, events, logs, remote_control
from celery_jobs.plugin import ATTRIBUTE, Plugin
from celery_jobs.publishing import install_seams

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ensure_installed"]

WORKER_STEP = "celery_jobs.worker.step:JobsStep"
CONSUMER_STEP = "celery_jobs.worker.refusals:Refusals"
HTTP_JOBS = "celery_jobs.http.task:add_task"


def ensure_installed(app: Celery) -> Plugin:
    """Give the app's plugin, installed now if it is not there yet: by `install`, or by an app's first job task."""
    plugin: Plugin | None = getattr(app, ATTRIBUTE, None)
    return _install(app) if plugin is None else plugin


def _install(app: Celery) -> Plugin:
    plugin = Plugin(app)
    setattr(app, ATTRIBUTE, plugin)
    if logs.log not in events.subscribers():
        events.subscribe(logs.log)
    install_seams(plugin)
    remote_control.install(app)
    app.steps["worker"].add(WORKER_STEP)
    app.steps["consumer"].add(CONSUMER_STEP)
    beat.install(plugin)
    app.on_after_finalize.connect(_add_http_jobs, weak=False)
    return plugin


def _add_http_jobs(sender: Celery, **_: Any) -> None:
    symbol_by_name(HTTP_JOBS)(sender)
