"""What an installation puts into a Celery app: the seams, the worker's step, beat's entries, the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kombu.utils.imports import symbol_by_name

from celery_jobs import beat, events, logs
from celery_jobs.plugin import ATTRIBUTE, Plugin
from celery_jobs.publishing import install_seams

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ensure_installed"]

CELERYS_CONTROL, CONTROL = "celery.app.control:Control", "celery_jobs.remote_control:JobsControl"
WORKER_STEP = "celery_jobs.worker.step:JobsStep"
CONSUMER_STEPS = ("celery_jobs.worker.refusals:Refusals", "celery_jobs.worker.kept_client:KeptClient")
HTTP_JOBS = "celery_jobs.http.task:add_task"
FLOWERS_ROUTES, LOAD = "flower.urls", "celery_jobs.web.loading:load"


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
    _install_remote_control(app)
    app.steps["worker"].add(WORKER_STEP)
    app.steps["consumer"].update(CONSUMER_STEPS)
    beat.install(plugin)
    app.on_after_finalize.connect(_add_http_jobs, weak=False)
    if FLOWERS_ROUTES in sys.modules:  # the command line has loaded it, whatever its command is
        symbol_by_name(LOAD)()
    return plugin


def _install_remote_control(app: Celery) -> None:
    """By its name, where the app has Celery's own: an app that only enqueues never loads it."""
    if app.control_cls == CELERYS_CONTROL and "control" not in app.__dict__:
        app.control_cls = CONTROL
    else:
        symbol_by_name("celery_jobs.remote_control:install")(app)


def _add_http_jobs(sender: Celery, **_: Any) -> None:
    symbol_by_name(HTTP_JOBS)(sender)
