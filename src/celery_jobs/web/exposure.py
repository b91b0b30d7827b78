"""Which tasks may be enqueued from outside: those that are registered, are jobs, and that `jobs_rest_tasks` lets."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from celery_jobs.plugin import HTTP_TASK

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["exposed_tasks", "is_exposed", "is_job"]


def is_job(plugin: Plugin, name: str) -> bool:
    """Whether a job of this name is registered here; never a name to be imported."""
    return plugin.task(name) is not None and plugin.manages(name)


def is_exposed(plugin: Plugin, name: str) -> bool:
    """Whether `jobs_rest_tasks` lets a task be enqueued from a page or by REST."""
    return any(fnmatchcase(name, pattern) for pattern in plugin.settings.rest_tasks)


def exposed_tasks(plugin: Plugin) -> list[str]:
    """The tasks that may be enqueued, by name; HTTP requests have a door of their own."""
    return sorted(n for n in plugin.app.tasks if n != HTTP_TASK and is_job(plugin, n) and is_exposed(plugin, n))
