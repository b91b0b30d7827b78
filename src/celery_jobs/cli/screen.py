"""Where output goes: lines of text for people, lines of JSON for programs."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from celery_jobs.moments import plain
from celery_jobs.words import safe

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Screen", "print_json", "say", "state", "tell"]

_COLOURS = {
    "pending": "yellow",
    "processing": "cyan",
    "completed": "green",
    "success": "green",
    "failed": "red",
    "retrying": "yellow",
    "failed_with_retries": "red",
    "failed_no_retries": "red",
    "dead_lettered": "bold red",
    "cancelled": "magenta",
}


class Screen:
    """One of the two outputs. `width`: its cells a line; None for a file or a pipe, where nothing is cut."""

    def __init__(self, err: bool = False) -> None:
        context = click.get_current_context(silent=True)
        plain = getattr(getattr(context, "obj", None), "no_color", False)
        self.console = Console(stderr=err, highlight=False, markup=False, emoji=False, no_color=plain or None)
        self.is_terminal = (sys.stderr if err else sys.stdout).isatty()
        self.width = self.console.width if self.is_terminal else None

    def print(self, line: Text | str = "") -> None:
        """One line, or several, as they are."""
        self.console.print(line if isinstance(line, Text) else Text(line), soft_wrap=True)

    def print_indented(self, first: Text, text: Text, style: str = "") -> None:
        """A text behind `first`, its further lines below its first one."""
        room = None if self.width is None else max(20, self.width - first.cell_len)
        lines = text.split("\n") if room is None else text.wrap(self.console, room, overflow="fold")
        for number, line in enumerate(lines):
            line.rstrip()
            self.print(Text.assemble(first if number == 0 else " " * first.cell_len, line))


def print_json(values: Iterable[Any]) -> None:
    """One JSON object a line, moments as ISO 8601 in UTC."""
    for value in values:
        click.echo(jsonlib.dumps(value, default=lambda other: str(plain(other))))


def tell(value: Any, words: str, json: bool) -> None:
    """One outcome: an object for programs, words for people."""
    if json:
        print_json([value])
    else:
        click.echo(safe(words))


def say(words: str) -> None:
    """A remark beside the output."""
    click.echo(safe(words), err=True)


def state(name: str) -> Text:
    """A state in its colour."""
    return Text(name, _COLOURS.get(name, ""))
