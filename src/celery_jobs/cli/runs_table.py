"""Runs as a table, and dead letters as theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.cli.screen import state
from celery_jobs.cli.tables import Column, print_table
from celery_jobs.words import age, error_line, moment, one_line, tags_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from celery_jobs.cli.screen import Screen
    from celery_jobs.runs import Run

__all__ = ["print_dead_letters", "print_runs"]

_RUNS = (
    Column("ID"),
    Column("STATE"),
    Column("TASK", least=12, keeps_end=True),
    Column("ATTEMPT", rank=1, right=True),
    Column("CREATED", rank=2),
    Column("AGE", rank=3, right=True, instead_of="CREATED"),
    Column("QUEUE", rank=4, least=8),
    Column("TAGS", rank=6, least=8),
    Column("ERROR", rank=5, least=16),
)

_DEAD_LETTERS = (
    Column("ID"),
    Column("TASK", least=12, keeps_end=True),
    Column("DIED", rank=3),
    Column("AGE", rank=1, right=True, instead_of="DIED"),
    Column("ATTEMPTS", rank=4, right=True),
    Column("QUEUE", rank=5, least=8),
    Column("REPLAYED", rank=6),
    Column("TAGS", rank=7, least=8),
    Column("LAST ERROR", rank=2, least=16),
)


def print_runs(screen: Screen, runs: Iterable[Run]) -> None:
    """A row a run."""
    print_table(screen, _RUNS, [_run(run) for run in runs])


def _run(run: Run) -> list[Text | str]:
    return [
        run.id,
        state(run.final_status or run.status),
        one_line(run.task) or "-",
        f"{run.attempt_number}/{run.max_attempts}",
        moment(run.created_at),
        age(run.created_at),
        one_line(run.queue),
        one_line(tags_line(run.tags)),
        error_line(*_error(run)),
    ]


def _error(run: Run) -> tuple[str | None, str | None]:
    """That of its latest attempt, or of the one before while that one waits."""
    told = [job for job in run.attempts if job.finished_at is not None] if not run.has_ended else []
    latest = told[-1] if told and not run.error_message else run
    return latest.error_type, latest.error_message


def print_dead_letters(screen: Screen, runs: Iterable[Run]) -> None:
    """A row a dead letter: when it died, and of what."""
    print_table(screen, _DEAD_LETTERS, [_dead_letter(run) for run in runs])


def _dead_letter(run: Run) -> list[Text | str]:
    return [
        run.id,
        one_line(run.task) or "-",
        moment(run.dead_lettered_at),
        age(run.dead_lettered_at),
        str(run.attempt_number),
        one_line(run.queue),
        moment(run.replayed_at),
        one_line(tags_line(run.tags)),
        error_line(run.error_type, run.error_message),
    ]
