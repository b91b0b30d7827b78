"""What every command shares: the app behind it, and errors as one plain line with an exit code."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.errors import JobNotFound, JobsError, NotInstalled, SchemaOutdated, StoreUnavailable
from celery_jobs.plugin import plugin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.jobs import Jobs
    from celery_jobs.plugin import Plugin

__all__ = ["Refused", "as_json", "door", "jobs_of", "plugin_here"]

as_json = click.option("--json", "json", is_flag=True, help="One JSON object a line, for programs.")


class Refused(click.ClickException):
    """An error of ours, as one line on stderr."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        vars(self)["exit_code"] = _exit_code(error)


def _exit_code(error: Exception) -> int:
    if isinstance(error, JobNotFound):
        return 3
    return 4 if isinstance(error, StoreUnavailable | SchemaOutdated) else 1


def door(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors of a verb into a line and an exit code."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (JobsError, ValueError) as error:
            raise Refused(error) from error

    return click.pass_context(guarded)


def plugin_here(context: click.Context) -> Plugin:
    """The plugin of the app given by -A, its tasks loaded."""
    app: Celery = context.obj.app
    app.loader.import_default_modules()
    app.finalize()
    try:
        return plugin_of(app)
    except NotInstalled:
        raise NotInstalled(
            f"the app {app.main or 'given'!r} does not have celery-jobs; give the right app with "
            "celery -A <app> jobs …, and call celery_jobs.install(app) where it is made"
        ) from None


def jobs_of(context: click.Context) -> Jobs:
    """The verbs on the app given by -A."""
    from celery_jobs.jobs import Jobs

    return Jobs(plugin_here(context).app)
