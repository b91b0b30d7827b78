"""What an alert says: what died, why, how often this hour, how to see it and how to replay it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.alerts import Cause, Report

__all__ = ["MOST_DEATHS", "Letter", "letter_of", "name_of"]

MOST_DEATHS = 10_000
"""Of the last hour, that are counted."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A title of one line, and a text of several."""

    title: str
    body: str


def letter_of(plugin: Plugin, report: Report, deaths: int) -> Letter:
    """The letter of a report; `deaths`: dead letters of its queue within the last hour, up to MOST_DEATHS."""
    title = f"{_jobs(report.count)} died in the queue {report.queue}"
    lines = [line for cause in report.causes for line in _cause(plugin, cause)]
    named = sum(cause.count for cause in report.causes)
    if report.count > named:
        lines.append(f"and {_jobs(report.count - named)} more, of other kinds")
    most = "more than " if deaths > MOST_DEATHS else ""
    lines += ["", f"Within the last hour {most}{_jobs(min(deaths, MOST_DEATHS))} died in this queue.", ""]
    return Letter(title, _addressed_to_nobody("\n".join(lines + _commands(plugin.app, report))))


def _addressed_to_nobody(text: str) -> str:
    """Error texts may be outsiders': none of them is to wake a whole channel."""
    return re.sub(r"@(?=(?:everyone|here|channel|all)\b)", "@\u200b", text, flags=re.IGNORECASE)


def _cause(plugin: Plugin, cause: Cause) -> list[str]:
    words = ": ".join(filter(None, (cause.error_type, plugin.masked(cause.error_message)))) or "no error was recorded"
    such = f"the job {cause.job_id}" if cause.count == 1 else f"{_jobs(cause.count)}, the first of them {cause.job_id}"
    return [f"{cause.task or 'a job without a task'}: {such}", f"    {' '.join(words.split())}"]


def _commands(app: Celery, report: Report) -> list[str]:
    jobs = f"celery -A {name_of(app)} jobs"
    queue = shlex.quote(report.queue)
    first = report.causes[0].job_id
    return [
        f"See:    {jobs} show {first}",
        f"        {jobs} dlq list --queue {queue}",
        f"Replay: {jobs} replay {first}",
        f"        {jobs} dlq replay --queue {queue} --dead-since {report.since}",
    ]


def name_of(app: Celery) -> str:
    """An app as its command line calls it."""
    return str(app.main) if app.main and app.main != "__main__" else "<your app>"


def _jobs(number: int) -> str:
    return f"{number:,} job{'' if number == 1 else 's'}"
