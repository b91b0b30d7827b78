"""What stats says with --what-if: what the policies would have made of the recorded runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.text import Text

from celery_jobs.cli.completion import complete_queue
from celery_jobs.cli.parameters import DURATION, MOMENT, NON_EMPTY
from celery_jobs.cli.screen import Screen, print_json, say
from celery_jobs.cli.tables import Column, print_table
from celery_jobs.words import moment, one_line, plural, span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_jobs.what_if import Forecast, WhatIf

__all__ = ["print_what_if", "refuse_without", "what_if_options"]

_OPTIONS = (
    click.option("--what-if", is_flag=True, help="What the policies would have done, had retries been on."),
    click.option("--since", type=MOMENT, default="7d", show_default=True, help="With --what-if: runs created since."),
    click.option("--queue", type=NON_EMPTY, shell_complete=complete_queue, help="With --what-if: of this queue alone."),
    click.option(
        "--within",
        type=DURATION,
        default="60s",
        show_default=True,
        help="With --what-if: the same task and arguments again so soon is a duplicate.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(1, 1_000_000),
        default=100_000,
        show_default=True,
        help="With --what-if: look at so many of the newest runs.",
    ),
)

_RETRIES = (
    Column("QUEUE", least=8),
    Column("TASK", least=12, keeps_end=True),
    *(Column(title, right=True) for title in ("FAILED", "RETRIED", "AFTER", "ATTEMPTS", "DEAD", "GOT OVER")),
)
_DUPLICATES = (
    Column("QUEUE", least=8),
    Column("TASK", least=12, keeps_end=True),
    *(Column(title, right=True) for title in ("RUNS", "DUPLICATES", "OVERLAPPING")),
)

_WORDS = """\
At most so many RETRIED, by so many ATTEMPTS more; some would have died later.
GOT OVER: of them, the task has succeeded since with the same arguments.
DEAD: dead-lettered at once, without a retry."""


def what_if_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a forecast."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_without(context: click.Context, what_if: bool) -> None:
    """Refuse the options of a forecast where none is asked for, and those of the counts where one is."""
    others = ("window",) if what_if else ("since", "queue", "within", "limit")
    for name in others:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} goes {'without' if what_if else 'with'} --what-if", context)


def print_what_if(found: WhatIf, json: bool) -> None:
    """A line a queue and task, and one for their sum."""
    if json:
        forecasts = [{"kind": "forecast", **forecast.to_json()} for forecast in found.forecasts]
        print_json([*forecasts, {"kind": "total", **found.to_json()}])
        return
    screen = Screen()
    screen.print(Text(f"had retries been on since {moment(found.since)}", "bold underline"))
    _print(screen, _RETRIES, found, _retries, [one for one in found.forecasts if one.failed], "no run failed for it")
    screen.print(Text(f"\nthe same again within {span(found.within)}, or before its end", "bold underline"))
    repeated = [one for one in found.forecasts if one.duplicates]
    _print(screen, _DUPLICATES, found, _duplicates, repeated, "no run was like another")
    screen.print(f"\n{_WORDS}")
    if not found.complete:
        say(f"only the newest {plural(found.limit, 'run')} were looked at; --limit looks at more")


def _print(
    screen: Screen,
    columns: Sequence[Column],
    found: WhatIf,
    cells: Callable[[Forecast], list[str]],
    shown: Sequence[Forecast],
    empty: str,
) -> None:
    if not shown:
        screen.print(empty)
        return
    print_table(screen, columns, [cells(forecast) for forecast in (*shown, found.total)], totals=True)


def _retries(one: Forecast) -> list[str]:
    counts = (one.attempts, one.dead_lettered, one.got_over)
    return [*_name(one), f"{one.failed:,}", f"{one.retried:,}", _wait(one), *(f"{count:,}" for count in counts)]


def _duplicates(one: Forecast) -> list[str]:
    return [*_name(one), *(f"{count:,}" for count in (one.runs, one.duplicates, one.overlapping))]


def _name(one: Forecast) -> list[str]:
    return [one_line(one.queue), one_line(one.task)]


def _wait(one: Forecast) -> str:
    if one.least_wait is None or one.most_wait is None:
        return "-"
    return span(one.most_wait) if one.least_wait == one.most_wait else f"{span(one.least_wait)}-{span(one.most_wait)}"
