"""The attempts of a run, one below the other, with the waits between them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.text import Text

from celery_jobs.cli.screen import state
from celery_jobs.words import error_line, moment, one_line, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.cli.screen import Screen
    from celery_jobs.runs import Run
    from celery_jobs.store.rows import Job

__all__ = ["print_timeline"]

INDENT = 6


def print_timeline(screen: Screen, run: Run) -> None:
    """When each attempt was due, began and ended, where, and with what outcome."""
    screen.print(Text(f"attempts: {run.attempt_number} of at most {run.max_attempts}", "bold"))
    before = None
    for job in run.attempts:
        if before is not None:
            _print_wait(screen, before, job)
        _print_attempt(screen, job, len(run.attempts) == 1)
        before = job


def _print_wait(screen: Screen, before: Job, job: Job) -> None:
    if before.finished_at is not None:
        screen.print(Text(f"  │  +{span((job.scheduled_at - before.finished_at).total_seconds())}", "dim"))


def _print_attempt(screen: Screen, job: Job, is_only: bool) -> None:
    screen.print(Text.assemble((f"{job.attempt_number:>3}", "bold"), "  ", _outcome(job, is_only)))
    for name, value in _facts(job):
        screen.print_indented(Text.assemble(" " * INDENT, (f"{name:<8}", "dim")), value)


def _outcome(job: Job, is_only: bool) -> Text:
    """The status, why, and the final status where it says more: of a first attempt it is the whole run's."""
    words = Text.assemble(state(job.status))
    if job.failure_reason not in (None, "exception"):
        words.append(f" ({one_line(job.failure_reason)})")
    if job.final_status not in (None, job.status):
        whole = "" if job.is_retry or is_only else "the whole run: "
        words.append(f", {whole}").append_text(state(str(job.final_status)))
    return words


def _facts(job: Job) -> Iterator[tuple[str, Text]]:
    yield "due", Text(_due(job))
    if job.started_at is not None:
        late = span((job.started_at - job.scheduled_at).total_seconds())
        yield "started", Text(f"{moment(job.started_at)}, {late} later")
        yield "ran", Text(_ran(job))
    if job.losses:
        yield "lost", Text(f"its worker was lost {job.losses} time{'' if job.losses == 1 else 's'}")
    if job.response_status is not None:
        yield "answer", Text(str(job.response_status))
    if error := error_line(job.error_type, job.error_message):
        yield "error", Text(error, "red")


def _due(job: Job) -> str:
    left = (job.scheduled_at - datetime.now(UTC)).total_seconds()
    waits = job.started_at is None and job.finished_at is None and left > 0
    return moment(job.scheduled_at) + (f", in {span(left)}" if waits else "")


def _ran(job: Job) -> str:
    if job.duration_ms is not None:
        ran = span(job.duration_ms / 1000)
    elif job.finished_at is None and job.started_at is not None:
        ran = f"{span((datetime.now(UTC) - job.started_at).total_seconds())} so far"
    else:
        ran = "unknown"
    worker = job.worker or one_line(job.claimed_by)
    return ran + (f" on worker {worker}" if worker else "")
