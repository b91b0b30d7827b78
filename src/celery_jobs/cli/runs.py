"""The commands that look at runs: list, show, wait."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.door import REFUSED, as_json, door, jobs_of
from celery_jobs.cli.filters import filter_options, with_whole_ids
from celery_jobs.cli.parameters import DURATION
from celery_jobs.cli.runs_table import print_runs
from celery_jobs.cli.screen import Screen, print_json, say
from celery_jobs.cli.show import print_run
from celery_jobs.ids import made_at
from celery_jobs.lineage import lineage
from celery_jobs.runs import Page
from celery_jobs.states import FinalStatus
from celery_jobs.words import error_line, span

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from celery_jobs.jobs import Jobs
    from celery_jobs.runs import Run
    from celery_jobs.store.filters import Where

__all__ = [
    "limited",
    "list_runs",
    "print_end",
    "print_page",
    "print_whole",
    "show",
    "wait",
    "whole_page",
    "with_traceback",
]

with_traceback = click.option("--traceback/--no-traceback", default=True, help="Show the errors' tracebacks, or not.")


def limited(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options for pages."""
    limit = click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True, help="Runs a page.")
    cursor = click.option("--cursor", help="Where the page before ended.")
    return limit(cursor(command))


@click.command("list")
@filter_options()
@limited
@as_json
@door
def list_runs(context: click.Context, where: Any, limit: int, cursor: str | None, json: bool) -> None:
    """List runs, newest first.

    \b
      celery -A shop jobs list --status failed --queue emails --since 2h
      celery -A shop jobs list --tag customer:42 --json
    """
    jobs = jobs_of(context)
    page = whole_page(jobs, with_whole_ids(jobs, where), limit, cursor)
    print_page(page, json, print_runs, "no jobs match" if where else "no jobs")


def whole_page(jobs: Jobs, where: Where, limit: int, cursor: str | None) -> Page:
    """A page, gone on with where it ended early, as far as a job may be that the filter means."""
    page = jobs.list(limit=limit, cursor=cursor, **where)
    while page.partial and not _is_behind(page.cursor, where.get("created_after")):
        more = jobs.list(limit=limit - len(page), cursor=page.cursor, **where)
        page = Page((*page.runs, *more.runs), more.cursor, more.partial)
    return page


def _is_behind(cursor: str | None, since: datetime | None) -> bool:
    """Whether it is older by a day: an id has the time of whoever made it, whose clock may differ."""
    return cursor is not None and since is not None and made_at(cursor) < since - timedelta(days=1)


def print_page(page: Page, json: bool, table: Callable[[Screen, Page], None], empty: str) -> None:
    """Runs as a table or as JSON; where the next page begins, beside them."""
    if json:
        print_json(run.to_json() for run in page)
    elif len(page):
        table(Screen(), page)
    else:
        click.echo(empty)
    if page.cursor is not None:
        say(f"{'older jobs' if page.partial else 'more'}: --cursor {page.cursor}")


@click.command()
@click.argument("id")
@with_traceback
@as_json
@door
def show(context: click.Context, id: str, traceback: bool, json: bool) -> None:
    """Show one run with its attempts as a timeline.

    Beside them what it was called with, its result, errors and tracebacks, and its replays.
    ID is a job's id, a Celery task id, or a beginning that only one job has.

    \b
      celery -A shop jobs show 0199b2f4
      celery -A shop jobs show 0199b2f4 --no-traceback
    """
    jobs = jobs_of(context)
    print_whole(jobs, jobs.find(id), traceback, json)


def print_whole(jobs: Jobs, id: str, traceback: bool, json: bool) -> None:
    """All there is to know of one run."""
    run, arguments = jobs.get(id), jobs.arguments(id)
    if json:
        print_json([{**run.to_json(), "arguments": arguments.to_json()}])
    else:
        print_run(Screen(), run, str(arguments), lineage(jobs, run), traceback)


@click.command()
@click.argument("id")
@click.option("--timeout", type=DURATION, help="Seconds at most, or a time such as 5m; without it as long as it takes.")
@as_json
@door
def wait(context: click.Context, id: str, timeout: float | None, json: bool) -> None:
    """Wait until a run has ended.

    The exit code is 0 where it succeeded, 1 where it ended otherwise, 5 after the timeout.

    \b
      celery -A shop jobs wait 0199b2f4 --timeout 5m && echo "it worked"
    """
    jobs = jobs_of(context)
    print_end(jobs.wait(jobs.find(id), timeout), json)


def print_end(run: Run, json: bool) -> None:
    """How a run ended; ends the command with the exit code of it."""
    if json:
        print_json([run.to_json()])
    else:
        click.echo(_ending(run))
    sys.exit(0 if run.final_status == FinalStatus.SUCCESS else REFUSED)


def _ending(run: Run) -> str:
    error = error_line(run.error_type, run.error_message)
    took = span((run.ended_at - run.created_at).total_seconds()) if run.ended_at else ""
    return f"{run.id} ended as {run.final_status} after {took}" + (f": {error}" if error else "")
