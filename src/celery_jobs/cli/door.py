"""What every command shares: the app behind it, and errors as one plain line with an exit code."""

from __future__ import annotations

import functools
import getpass
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.errors import (
    AmbiguousId,
    InvalidJob,
    JobsError,
    NotInstalled,
    SchemaOutdated,
    StoreUnavailable,
    UnknownQueue,
    WaitTimeout,
)
from celery_jobs.plugin import plugin_of
from celery_jobs.words import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.jobs import Jobs
    from celery_jobs.plugin import Plugin

__all__ = [
    "INTERRUPTED",
    "NOT_FOUND",
    "REFUSED",
    "Refused",
    "as_json",
    "door",
    "jobs_of",
    "load_tasks",
    "me",
    "plugin_here",
]

REFUSED, USAGE, NOT_FOUND, DATABASE, TIMEOUT, INTERRUPTED = 1, 2, 3, 4, 5, 130

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (AmbiguousId, REFUSED),
    (UnknownQueue, REFUSED),
    (LookupError, NOT_FOUND),
    (StoreUnavailable, DATABASE),
    (SchemaOutdated, DATABASE),
    (WaitTimeout, TIMEOUT),
    (InvalidJob, USAGE),
    (JobsError, REFUSED),
    (ValueError, USAGE),
    (TypeError, USAGE),
)

as_json = click.option("--json", "json", is_flag=True, help="One JSON object a line, for programs.")


class Refused(click.ClickException):
    """What was not done, as one line on stderr."""

    def __init__(self, error: Exception | str) -> None:
        super().__init__(safe(_words(error)))
        vars(self)["exit_code"] = next((code for kind, code in _CODES if isinstance(error, kind)), REFUSED)


def _words(error: Exception | str) -> str:
    if isinstance(error, AmbiguousId):
        first, _, _ = str(error).partition(":")
        return "\n  ".join([f"{first}; give more of the id:", *error.candidates])
    return str(error)


def door(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors of a verb into a line and an exit code."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _print_anything()
        try:
            return command(*args, **kwargs)
        except (JobsError, ValueError) as error:
            raise Refused(error) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("\ninterrupted", err=True)
            sys.exit(INTERRUPTED)

    return click.pass_context(guarded)


def _print_anything() -> None:
    """An output that cannot show a character shows its code; it does not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def load_tasks(app: Celery) -> None:
    """Import the app's task modules, as a worker would."""
    app.loader.import_default_modules()
    app.finalize()


def plugin_here(context: click.Context) -> Plugin:
    """The plugin of the app given by -A, its tasks loaded."""
    app: Celery = context.obj.app
    load_tasks(app)
    try:
        return plugin_of(app)
    except NotInstalled:
        raise NotInstalled(
            f"the app {app.main or 'given'!r} does not have celery-jobs; give the right app with "
            "celery -A <app> jobs …, and call celery_jobs.install(app) where it is made"
        ) from None


def jobs_of(context: click.Context) -> Jobs:
    """The verbs on the app given by -A; what they change is in the audit log as done by who runs the command."""
    from celery_jobs.audit import Actor, AuditedJobs

    return AuditedJobs(plugin_here(context).app, Actor(f"{me() or os.getuid()}@{socket.gethostname()}", "cli"))


def me() -> str | None:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return None
