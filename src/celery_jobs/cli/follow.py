"""`jobs follow`: a line for each thing that happens, as it happens."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.completion import complete_queue, complete_task
from celery_jobs.cli.door import INTERRUPTED, REFUSED, as_json, door, jobs_of
from celery_jobs.cli.parameters import DURATION, NON_EMPTY
from celery_jobs.cli.screen import print_json
from celery_jobs.moments import plain
from celery_jobs.states import FinalStatus
from celery_jobs.words import one_line, safe, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.run_events import RunEvent

__all__ = ["follow"]


@click.command()
@click.argument("id", required=False)
@click.option("--queue", type=NON_EMPTY, shell_complete=complete_queue, help="Without an ID: runs of this queue.")
@click.option("--task", type=NON_EMPTY, shell_complete=complete_task, help="Without an ID: runs of this task.")
@click.option("--tag", multiple=True, help="Without an ID: runs with this tag; may be given again.")
@click.option("--since", metavar="CURSOR", help="Go on behind the event with this cursor.")
@click.option("--timeout", type=DURATION, help="Seconds at most, or a time such as 5m; without it as long as it takes.")
@as_json
@door
def follow(context: click.Context, id: str | None, tag: tuple[str, ...], json: bool, **options: Any) -> None:
    """Show what happens to a run, or to all runs of a filter.

    Of a run all that has happened too, until its end is there and its callback's; the exit code is then 0 where it
    succeeded, 1 where it ended otherwise, 5 after the timeout. Of a filter what is enqueued and what ends from now on,
    until Ctrl-C or the timeout.

    \b
      celery -A shop jobs follow 0199b2f4
      celery -A shop jobs follow --queue emails --json
    """
    jobs = jobs_of(context)
    whole = None if id is None else jobs.find(id)
    with closing(jobs.events(whole, tag=list(tag) or None, **options)) as events:
        try:
            verdict = _print(events, json, many=id is None)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
    if id is not None:
        sys.exit(0 if verdict == FinalStatus.SUCCESS else REFUSED)


def _print(events: Iterator[RunEvent], json: bool, many: bool) -> str | None:
    """A line each, at once; gives the verdict of the last chain that ended."""
    verdict = None
    for event in events:
        verdict = event.details.get("final_status", verdict)
        if json:
            print_json([event.to_json()])
        else:
            click.echo(safe(_line(event, many)))
    return verdict


def _line(event: RunEvent, many: bool) -> str:
    of = [event.original_id, event.queue, event.task or "-"] if many else [f"#{event.attempt_number}"]
    said = [f"{name}={_word(name, value)}" for name, value in event.details.items() if value is not None]
    return "  ".join([str(plain(event.at)), f"{event.kind.removeprefix('job.'):<17}", *of, *said])


def _word(name: str, value: Any) -> str:
    if name == "duration_ms":
        return span(value / 1000)
    return one_line(str(plain(value)))
