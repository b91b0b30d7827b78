"""One run on the screen: what it is, its attempts as a timeline, tracebacks, result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.text import Text

from celery_jobs.cli.response import print_response
from celery_jobs.cli.screen import state
from celery_jobs.cli.timeline import print_timeline
from celery_jobs.words import age, moment, one_line, plural, safe, span, tags_line

if TYPE_CHECKING:
    from celery_jobs.cli.screen import Screen
    from celery_jobs.lineage import Lineage
    from celery_jobs.runs import Run
    from celery_jobs.store.rows import Job

__all__ = ["print_run"]

NAMES = 14
"""Cells of the names of facts."""

MOST_RESULT_LINES = 20


def print_run(screen: Screen, run: Run, arguments: str, replays: Lineage, tracebacks: bool) -> None:
    """Everything that a person wants to know of a run."""
    screen.print(Text.assemble((one_line(run.task) or "-", "bold"), "  ", state(run.final_status or run.status)))
    screen.print()
    for name, value in _facts(run, arguments):
        if value:
            _print_fact(screen, name, Text(safe(value)))
    _print_replays(screen, run, replays)
    _print_result(screen, run)
    print_response(screen, run, _print_fact)
    screen.print()
    print_timeline(screen, run)
    if tracebacks:
        _print_tracebacks(screen, run)


def _print_fact(screen: Screen, name: str, value: Text) -> None:
    screen.print_indented(Text.assemble((f"{name:>{NAMES}}", "dim"), "  "), value)


def _facts(run: Run, arguments: str) -> list[tuple[str, str | None]]:
    return [
        ("id", run.id),
        ("task id", run.task_id if run.task_id != run.id else None),
        ("queue", run.queue),
        ("arguments", arguments),
        ("priority", str(run.priority) if run.priority else None),
        ("tags", tags_line(run.tags)),
        ("key", run.idempotency_key),
        ("concurrency", run.concurrency_key),
        ("waits for", _place(run)),
        ("created", f"{moment(run.created_at)}, {age(run.created_at)} ago"),
        ("expires", moment(run.expires_at)),
        ("asked to stop", moment(run.cancel_requested_at)),
        ("ended", _ended(run)),
        ("dead-lettered", moment(run.dead_lettered_at)),
        ("alerted", moment(run.alerted_at)),
        ("worker lost", plural(run.losses, "time") if run.losses else None),
        ("callback", _callback(run)),
        ("replaced by", run.replaced_by),
    ]


def _place(run: Run) -> str | None:
    """What the run waits for in SQL, where it is due and a limit has no room for it."""
    if run.waits_for is None or run.has_ended:
        return None
    kind, _, name = run.waits_for.partition(":")
    words = {"key": "a place of the key", "queue": "a place in the queue", "rate": "the rate of the queue"}
    return f"{words[kind]} {name}"


def _ended(run: Run) -> str | None:
    if run.ended_at is None:
        return None
    return f"{moment(run.ended_at)}, after {span((run.ended_at - run.created_at).total_seconds())}"


def _callback(run: Run) -> str | None:
    """Where each attempt's end is told, and what became of it the last time."""
    told = next((job for job in reversed(run.attempts) if job.callback_state), None)
    if run.callback_url is None or told is None:
        return run.callback_url
    return f"{run.callback_url} ({_outcome(told)})"


def _outcome(job: Job) -> str:
    words = [f"attempt {job.attempt_number} {job.callback_state}"]
    if job.callback_error is not None:
        words.append(one_line(job.callback_error))
    elif job.callback_status is not None:
        words.append(f"answered {job.callback_status}")
    if job.callback_duration_ms is not None:
        words.append(f"after {span(job.callback_duration_ms / 1000)}")
    if job.callback_tries > 1:
        words.append(f"try {job.callback_tries}")
    return ", ".join(words)


def _print_replays(screen: Screen, run: Run, replays: Lineage) -> None:
    before, after = replays
    why = run
    for older in before:
        _print_replay(screen, "replay of", older, why.replay_reason)
        why = older
    if run.replay_of is not None and not before:
        _print_fact(screen, "replay of", Text(f"{run.replay_of}, which is gone"))
    for newer in after:
        _print_replay(screen, "replayed as", newer, newer.replay_reason)
    if run.replayed_as is not None and not after:
        _print_fact(screen, "replayed as", Text(f"{run.replayed_as}, which is gone"))


def _print_replay(screen: Screen, name: str, other: Run, reason: str | None) -> None:
    line = Text.assemble(other.id, "  ", state(other.final_status or other.status))
    _print_fact(screen, name, line)
    if reason:
        _print_fact(screen, "reason", Text(safe(reason)))


def _print_result(screen: Screen, run: Run) -> None:
    if run.result is None:
        return
    lines = safe(json.dumps(run.result, indent=2, ensure_ascii=False, default=str)).split("\n")
    if screen.is_terminal and len(lines) > MOST_RESULT_LINES:
        left = len(lines) - MOST_RESULT_LINES
        lines = [*lines[:MOST_RESULT_LINES], f"… {plural(left, 'more line')}; --json has all"]
    _print_fact(screen, "result", Text("\n".join(lines)))


def _print_tracebacks(screen: Screen, run: Run) -> None:
    """Each different one once."""
    found: dict[str, list[str]] = {}
    for job in run.attempts:
        if job.traceback:
            found.setdefault(safe(job.traceback.rstrip()), []).append(str(job.attempt_number))
    for traceback, numbers in found.items():
        screen.print()
        attempts = "attempt" if len(numbers) == 1 else "attempts"
        screen.print(Text(f"traceback of {attempts} {', '.join(numbers)}", "bold"))
        screen.print(Text(traceback, "dim"))
