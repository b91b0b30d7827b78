"""What a shell completes: states, and the app's queues and tasks, without asking a database or a broker."""

from __future__ import annotations

import io
from contextlib import redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from celery_jobs.cli.door import load_tasks
from celery_jobs.plugin import plugin_of
from celery_jobs.states import FinalStatus, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

__all__ = ["complete_final_status", "complete_queue", "complete_status", "complete_task"]


def complete_status(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Any state."""
    return _starting(incomplete, dict.fromkeys([*Status, *FinalStatus]))


def complete_final_status(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """A verdict."""
    return _starting(incomplete, FinalStatus)


def complete_queue(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """A queue of the app's settings."""
    app = _app(context)
    if app is None:
        return []
    known = {app.conf.task_default_queue, *plugin_of(app).settings.queues, *app.amqp.queues}
    return _starting(incomplete, sorted(known))


def complete_task(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """A task of the app that is a job."""
    app = _app(context)
    return [] if app is None else _starting(incomplete, sorted(filter(plugin_of(app).manages, app.tasks)))


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [str(name) for name in names if name.startswith(incomplete)]


def _app(context: click.Context) -> Any:
    """The app that -A names; None where it cannot be loaded, for a completion must not fail."""
    # What the app prints while it is loaded is no completion.
    with suppress(Exception), redirect_stdout(io.StringIO()):
        if context.obj is not None:
            app = context.obj.app
        else:
            from celery.app.utils import find_app

            app = find_app(context.find_root().params["app"])
        load_tasks(app)
        plugin_of(app)
        return app
    return None
