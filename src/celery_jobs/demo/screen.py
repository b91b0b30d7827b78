"""What the tour shows: a live table on a terminal, elsewhere one plain line for each change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from celery_jobs.demo.processes import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from celery_jobs.demo.stage import Act, Line
    from celery_jobs.runs import Run

__all__ = ["LiveScreen", "PlainScreen", "Screen", "View", "make_screen"]

COLOURS = {
    "pending": "yellow",
    "processing": "bold cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "success": "bold green",
    "retrying": "yellow",
    "dead_lettered": "bold red",
    "starting": "yellow",
    "running": "green",
    "ended": "red",
}
PLAIN_WIDTH = 200
WIDE = 110


@dataclass(frozen=True, slots=True)
class View:
    """One look at everything. `processes`: states by name; `services`: seconds since each last ran."""

    elapsed: float
    now: str
    acts: Sequence[Act]
    processes: Mapping[str, str]
    services: Mapping[str, float]
    flower_url: str


class Screen(ABC):
    """Where the tour is shown."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def open(self, acts: Sequence[Act], folder: Path) -> None:
        """Say what is going to be shown, and where things are."""
        stories = Table.grid(padding=(0, 2))
        for act in acts:
            stories.add_row(str(act.number), Text(act.story.title, style="bold"), act.story.text)
        about = Text.assemble(
            ("Each attempt of a Celery task is a row in SQL. ", "bold"),
            "A shop on real processes (broker, worker, beat, Flower) now shows:\n",
        )
        where = Text(f"\nDatabase and logs: {folder}", style="dim")
        self.console.print(self.frame(Group(about, stories, where)))

    def frame(self, content: Group) -> Panel | Group:
        """The border around the opening."""
        return content

    @abstractmethod
    def show(self, view: View) -> None:
        """Show the present state."""

    @abstractmethod
    def close(self) -> None:
        """Leave the last state standing."""

    def say(self, text: str, style: str = "") -> None:
        """Say one thing, below everything else."""
        self.console.print(Text(text, style=style))


class LiveScreen(Screen):
    """A table that moves."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False)

    def frame(self, content: Group) -> Panel:
        """The border around the opening."""
        return Panel(content, title="[bold]celery-jobs demo", border_style="blue", padding=(0, 1))

    def show(self, view: View) -> None:
        """Redraw the table."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(Group(_table(view, self.console.width), *_footer(view)), refresh=True)

    def close(self) -> None:
        """Leave the last table standing."""
        self._live.stop()


class PlainScreen(Screen):
    """One line for each change, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._said: dict[object, object] = {}

    def show(self, view: View) -> None:
        """Say what has changed."""
        for name, state in view.processes.items():
            self._change(view, name, state, f"{name} is {state}")
        self._change(view, "now", view.now, view.now)
        for act in view.acts:
            for position, line in enumerate(act.lines):
                last = line.run.attempts[-1]
                seen = (last.id, last.status, line.run.final_status, last.sent_at, line.remark)
                self._change(view, (act.number, position), seen, _sentence(line))
            if act.outcome is not None:
                self._change(view, act.number, act.outcome, _verdict(act).plain)

    def close(self) -> None:
        """Nothing moves here."""

    def _change(self, view: View, key: object, state: object, text: str) -> None:
        if self._said.get(key) != state:
            self._said[key] = state
            self.console.print(Text(f"{view.elapsed:5.1f} s  {text}"))


def make_screen() -> Screen:
    """A live screen on a terminal, plain lines elsewhere."""
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console)
    return PlainScreen(Console(highlight=False, width=PLAIN_WIDTH))


def _table(view: View, width: int) -> Table:
    """One row a job; a narrow terminal cuts the last column and does without the one before."""
    wide = width >= WIDE
    table = Table(box=SIMPLE_HEAD, padding=(0, int(wide), 0, 0), expand=True, header_style="bold")
    for name in ("", "job", "status", "final status", "attempt", "when", *(("where",) if wide else ())):
        table.add_column(name, no_wrap=True)
    table.add_column("last error, or result", ratio=1, no_wrap=not wide)
    for act in view.acts:
        for line in act.lines:
            *cells, where, words = _cells(line)
            table.add_row(_mark(act), *cells, *((where,) if wide else ()), words)
    return table


def _cells(line: Line) -> tuple[Text, ...]:
    run = line.run
    return (
        Text(run.task or "", style="bold"),
        _coloured(run.status),
        _coloured(run.final_status or "-"),
        Text(f"{run.attempt_number} of {run.max_attempts}"),
        Text(_when(run)),
        Text(_where(run), style="dim"),
        Text.assemble(_last_words(run), (f"  ({line.remark})" if line.remark else "", "dim")),
    )


def _sentence(line: Line) -> str:
    job, status, verdict, attempt, when, where, words = (cell.plain for cell in _cells(line))
    return f"{line.number} {job:<15}{status:<11}{verdict:<14}{attempt:<7}{when:<10}{where:<7}{words}".rstrip()


def _when(run: Run) -> str:
    if run.duration_ms is not None:
        return f"ran {run.duration_ms / 1000:.1f} s"
    wait = (run.scheduled_at - datetime.now(UTC)).total_seconds()
    return "now" if run.status == "processing" or wait <= 0 else f"in {wait:.1f} s"


def _where(run: Run) -> str:
    """Who has the job now."""
    if run.status == "processing":
        return "worker"
    if run.status == "pending":
        return "SQL" if run.attempts[-1].sent_at is None else "broker"
    return ""


def _last_words(run: Run) -> Text:
    if run.status == "completed":
        return Text(str(run.result), style="green")
    for attempt in reversed(run.attempts):
        if attempt.error_type:
            return Text(f"{attempt.error_type}: {attempt.error_message}", style="red")
    return Text("")


def _mark(act: Act) -> Text:
    if act.outcome is None:
        return Text(f"{act.number} ", style="dim")
    return Text(f"{act.number} ", style="dim") + (Text("ok", "green") if not act.outcome else Text("!!", "bold red"))


def _verdict(act: Act) -> Text:
    if act.outcome:
        return Text(f"{act.number} {act.story.title}: NOT as promised: {act.outcome}", style="bold red")
    return Text(f"{act.number} {act.story.title}: as promised", style="green")


def _footer(view: View) -> list[Text]:
    processes = Text("processes  ", style="dim")
    for name, state in view.processes.items():
        processes += Text(f"{name} ") + _coloured(state) + Text("   ")
    ages = "   ".join(f"{name} {seconds:.0f} s ago" for name, seconds in view.services.items()) or "none has run yet"
    return [
        processes,
        Text.assemble(("services   ", "dim"), ages),
        Text.assemble(
            ("dashboard  ", "dim"),
            (f"{view.flower_url}/jobs/overview", "underline blue"),
            f"  (Flower; sign in as {USER}, password {PASSWORD})",
        ),
        Text.assemble(("tour       ", "dim"), (f"{view.elapsed:.0f} s  ", "dim"), view.now),
    ]


def _coloured(word: str) -> Text:
    return Text(word, style=COLOURS.get(word, ""))
