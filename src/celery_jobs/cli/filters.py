"""The options that say which runs are meant, shared by every command that takes a filter."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.completion import complete_final_status, complete_queue, complete_status, complete_task
from celery_jobs.cli.parameters import MOMENT, NON_EMPTY
from celery_jobs.ids import parse_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.jobs import Jobs
    from celery_jobs.store.filters import Where

__all__ = ["filter_options", "with_whole_ids"]

_BY_ID = ("original", "replay_of")


def _checked(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse what a Filter refuses, naming the option."""
    from celery_jobs.store.filters import Filter

    if value == ():  # what may be given again, and was not given
        return None
    field = str(parameter.name)
    if value is not None and field not in _BY_ID:
        try:
            Filter(**{field: value})
        except ValueError as error:
            raise click.BadParameter(str(error).removeprefix(f"{field}: "), context, parameter) from None
    return value


def _option(*names: str, type: Any = NON_EMPTY, **extra: Any) -> Callable[..., Any]:
    return click.option(*names, type=type, callback=_checked, **extra)


_STATES = {
    "status": _option(
        "--status", shell_complete=complete_status, help="Any state: pending, failed, dead_lettered, success …"
    ),
    "final_status": _option("--final-status", shell_complete=complete_final_status, help="The verdict alone."),
}
_OTHERS = {
    "queue": _option("--queue", shell_complete=complete_queue, help="Jobs of this queue."),
    "task": _option("--task", shell_complete=complete_task, help="Jobs of this task."),
    "tag": _option("--tag", multiple=True, help="Jobs with this tag: a value, or key:value; may be given again."),
    "error_type": _option("--error-type", help="Their error's class, with or without its module."),
    "error": _option("--error", help="A text in their error's message, in any case."),
    "created_after": _option("--since", "created_after", type=MOMENT, help="Created since then: 2h, 2026-04-10T12:00."),
    "created_before": _option("--until", "created_before", type=MOMENT, help="Created before then."),
    "dead_lettered_after": _option("--dead-since", "dead_lettered_after", type=MOMENT, help="Died since then."),
    "dead_lettered_before": _option("--dead-until", "dead_lettered_before", type=MOMENT, help="Died before then."),
    "attempts": _option("--attempts", type=int, help="So many attempts begun so far."),
    "original": _option("--original", help="The run that this id belongs to."),
    "replay_of": _option("--replay-of", help="Replays of the run of this id."),
}


def filter_options(states: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a filter, as `where`; without `states` all but those for states."""
    options = {**(_STATES if states else {}), **_OTHERS}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gathered(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in options}
            where = {name: value for name, value in given.items() if value is not None}
            return command(*args, where=where, **kwargs)

        for option in reversed(options.values()):
            gathered = option(gathered)
        return gathered

    return decorate


def with_whole_ids(jobs: Jobs, where: Where) -> Where:
    """The filter with beginnings of ids made whole."""
    values: Any = dict(where)
    for name in _BY_ID:
        if name in values and (name == "original" or parse_id(values[name]) is None):
            values[name] = jobs.find(values[name])
    whole: Where = values
    return whole
