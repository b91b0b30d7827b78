"""Lines of JSON as jobs: enqueued in chunks, what is wrong told with the number of its line."""

from __future__ import annotations

import json as jsonlib
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.door import INTERRUPTED, REFUSED, Refused
from celery_jobs.cli.progress import interruptible
from celery_jobs.cli.screen import print_json, say
from celery_jobs.errors import InvalidJob, StoreUnavailable
from celery_jobs.runs import EnqueueOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from celery_jobs.jobs import Jobs

__all__ = ["enqueue_lines"]

CHUNK = 10_000

Line = tuple[int, Any]
"""A line's number, and the object in it or the InvalidJob that it is."""


def enqueue_lines(jobs: Jobs, file: Iterable[str], atomic: bool, json: bool, options: dict[str, Any]) -> None:
    """Enqueue a job a line and say what became of them; ends the command with its exit code."""
    counts: Counter[str] = Counter()
    with interruptible() as stop:
        for lines in [_all(file)] if atomic else _chunks(file):
            if stop():
                break
            outcomes = _enqueue_atomic(jobs, lines, options) if atomic else _enqueue(jobs, lines, options)
            for line, outcome in zip(lines, outcomes, strict=True):
                _report(line[0], outcome, json)
                counts[_kind(outcome)] += 1
        stopped = stop()
    if not json:
        click.echo(_summary(counts))
    if stopped:
        say("stopped; these were the lines up to the last one told of")
    sys.exit(INTERRUPTED if stopped else REFUSED if counts["refused"] else 0)


def _chunks(file: Iterable[str]) -> Iterator[list[Line]]:
    lines = _lines(file)
    while chunk := list(islice(lines, CHUNK)):
        yield chunk


def _all(file: Iterable[str]) -> list[Line]:
    lines = list(islice(_lines(file), CHUNK + 1))
    if len(lines) > CHUNK:
        raise InvalidJob("--atomic", f"at most {CHUNK:,} lines can be all or none")
    for number, item in lines:
        if isinstance(item, InvalidJob):
            raise InvalidJob(f"line {number}", str(item))
    return lines


def _lines(file: Iterable[str]) -> Iterator[Line]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, _read(line)


def _read(line: str) -> Any:
    try:
        item = jsonlib.loads(line)
    except jsonlib.JSONDecodeError as error:
        return InvalidJob("JSON", f"column {error.colno}: {error.msg}")
    return item if isinstance(item, dict) else InvalidJob("JSON", "an object with task, args and kwargs is expected")


def _enqueue(jobs: Jobs, lines: list[Line], options: dict[str, Any]) -> list[EnqueueOutcome]:
    """What became of each line; a database that is away ends the command."""
    made = iter(jobs.enqueue_many([item for _, item in lines if not isinstance(item, InvalidJob)], **options))
    outcomes = [
        EnqueueOutcome(place, error=item) if isinstance(item, InvalidJob) else replace(next(made), index=place)
        for place, (_, item) in enumerate(lines)
    ]
    for outcome, (number, _) in zip(outcomes, lines, strict=True):
        if isinstance(outcome.error, StoreUnavailable):
            raise StoreUnavailable(f"from line {number} on nothing was enqueued: {outcome.error}") from outcome.error
    return outcomes


def _enqueue_atomic(jobs: Jobs, lines: list[Line], options: dict[str, Any]) -> list[EnqueueOutcome]:
    try:
        return jobs.enqueue_many([item for _, item in lines], atomic=True, **options)
    except InvalidJob as error:
        place = re.match(r"items\[(\d+)\]\.(.*)", error.field)
        if place is None:
            raise
        raise InvalidJob(f"line {lines[int(place[1])][0]}", f"{place[2]}: {error.problem}") from error
    except TypeError as error:  # arguments that do not fit their task
        raise Refused(error) from error


def _report(number: int, outcome: EnqueueOutcome, json: bool) -> None:
    if json:
        print_json([{"line": number, **outcome.to_json()}])
    elif outcome.error is not None:
        say(f"line {number}: {outcome.error}")


def _kind(outcome: EnqueueOutcome) -> str:
    if outcome.error is not None:
        return "refused"
    return "replaced" if outcome.replaced else "found" if outcome.deduplicated else "enqueued"


def _summary(counts: Counter[str]) -> str:
    line = f"{counts['enqueued']:,} enqueued"
    found = f", {counts['replaced']:,} replaced" if counts["replaced"] else ""
    found += f", {counts['found']:,} there already" if counts["found"] else ""
    return line + found + (f", {counts['refused']:,} refused" if counts["refused"] else "")
