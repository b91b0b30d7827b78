"""Watching a bulk verb at work: a progress bar with the time left, and Ctrl-C that ends it between two batches."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from celery_jobs.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Task

    from celery_jobs.bulk import Progress

__all__ = ["interruptible", "progress_bar"]


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C only be noted, so that the batch at hand is finished; a second one ends the command at once."""
    noted = False

    def note(*_: Any) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar(
    name: str, total: int, stopping: Callable[[], bool], hidden: bool
) -> Iterator[Callable[[Progress], None] | None]:
    """A bar on stderr with count, rate and time left; None where nobody would see it."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), _Stopping(stopping))
    with Bar(*columns, console=Screen(err=True).console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda progress: bar.update(task, completed=progress.done + progress.skipped)


class _Rate(ProgressColumn):
    """Runs a second."""

    def render(self, task: Task) -> Text:
        """The speed of late."""
        return Text(
            "" if task.speed is None else f"{task.speed:,.0f}/s" if task.speed >= 9.5 else f"{task.speed:.1f}/s"
        )


class _Stopping(ProgressColumn):
    """Says that Ctrl-C was heard."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        super().__init__()
        self.stopping = stopping

    def render(self, task: Task) -> Text:
        """Words once it was."""
        return Text("stopping after this batch" if self.stopping() else "")
