"""Tables that fit the terminal for people, lines of JSON for programs."""

from __future__ import annotations

import json as jsonlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.runs import Run
    from celery_jobs.store.rows import Job

__all__ = ["moment", "print_chain", "print_json", "print_runs", "state"]

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


def print_json(values: Iterable[Any]) -> None:
    """One JSON object a line."""
    for value in values:
        click.echo(jsonlib.dumps(value, default=str))


def print_runs(runs: Iterable[Run], empty: str) -> None:
    """A row a run; where there is none, say so."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("ID", no_wrap=True, min_width=36)
    for title in ("TASK", "QUEUE"):
        table.add_column(title, overflow="ellipsis", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    table.add_column("ATTEMPT", justify="right", no_wrap=True)
    table.add_column("CREATED", no_wrap=True)
    table.add_column("ERROR", overflow="ellipsis", no_wrap=True)
    for run in runs:
        attempts = f"{run.attempt_number}/{run.max_attempts}"
        error = _first_line(run.error_message)
        names = (Text(run.id), Text(run.task or "-"), Text(run.queue))
        table.add_row(*names, state(run.final_status or run.status), attempts, moment(run.created_at), Text(error))
    console = _console()
    console.print(table if table.row_count else empty)


def print_chain(run: Run, arguments: str) -> None:
    """A run and its attempts as a timeline."""
    console = _console()
    console.print(Text.assemble((run.task or "-", "bold"), "  ", state(run.final_status or run.status)))
    for name, value in _facts(run, arguments):
        if value not in (None, "", 0):
            console.print(Text(f"{name:>14}  {value}"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for title in ("ATTEMPT", "STATUS", "FINAL", "SCHEDULED", "STARTED", "MS", "REASON", "ERROR"):
        table.add_column(title, overflow="fold")
    for job in run.attempts:
        table.add_row(*_attempt(job))
    console.print()
    console.print(table)
    if run.traceback:
        console.print()
        console.print(Text(run.traceback.rstrip(), "dim"), soft_wrap=True)


def _facts(run: Run, arguments: str) -> list[tuple[str, Any]]:
    return [
        ("id", run.id),
        ("task_id", run.task_id if run.task_id != run.id else None),
        ("queue", run.queue),
        ("arguments", arguments),
        ("priority", run.priority),
        ("tags", run.tags),
        ("key", run.idempotency_key),
        ("created", moment(run.created_at)),
        ("ended", moment(run.ended_at)),
        ("dead-lettered", moment(run.dead_lettered_at)),
        ("result", None if run.result is None else jsonlib.dumps(run.result)),
        ("worker losses", run.losses),
        ("replay of", run.replay_of),
        ("reason", run.replay_reason),
        ("replayed as", run.replayed_as),
        ("replaced by", run.replaced_by),
    ]


def _attempt(job: Job) -> tuple[str | Text, ...]:
    return (
        str(job.attempt_number),
        state(job.status),
        state(job.final_status or "-"),
        moment(job.scheduled_at),
        moment(job.started_at),
        "" if job.duration_ms is None else f"{job.duration_ms:,}",
        job.failure_reason or "",
        Text(": ".join(part for part in (job.error_type, _first_line(job.error_message)) if part)),
    )


def state(name: str) -> Text:
    """A state in its colour."""
    return Text(name, _COLOURS.get(name, ""))


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _first_line(text: str | None) -> str:
    return text.splitlines()[0] if text and text.strip() else ""


def _console() -> Console:
    # A pipe has no width: nothing is cut there.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
