"""The commands for the dead-letter queue: list, replay, purge."""

from __future__ import annotations

import click

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.tables import print_json, print_runs
from celery_jobs.states import FinalStatus

__all__ = ["dlq"]


@click.group()
def dlq() -> None:
    """The dead-letter queue: what used up its attempts."""


@dlq.command("list")
@click.option("--queue", help="Only jobs of this queue.")
@click.option("--task", help="Only jobs of this task.")
@click.option("--limit", default=25, show_default=True, help="Runs a page, 1 to 1,000.")
@click.option("--cursor", help="Where the page before ended.")
@as_json
@door
def list_dead(
    context: click.Context, queue: str | None, task: str | None, limit: int, cursor: str | None, json: bool
) -> None:
    """List dead letters, newest first."""
    page = jobs_of(context).list(status=FinalStatus.DEAD_LETTERED, queue=queue, task=task, limit=limit, cursor=cursor)
    if json:
        print_json(run.to_json() for run in page)
    else:
        print_runs(page, "the dead-letter queue is empty")
    if page.cursor is not None:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@dlq.command("replay")
@click.argument("ids", nargs=-1, required=True)
@click.option("--reason", help="Why, for the record.")
@click.option("--force", is_flag=True, help="Also those that have been replayed before.")
@as_json
@door
def replay_dead(context: click.Context, ids: tuple[str, ...], reason: str | None, force: bool, json: bool) -> None:
    """Replay dead letters by their ids."""
    jobs = jobs_of(context)
    for id in ids:
        run = jobs.replay(id, reason=reason, force=force)
        if json:
            print_json([run.to_json()])
        else:
            click.echo(f"{run.replay_of} is replayed as {run.id}")


@dlq.command("purge")
@click.argument("ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@door
def purge_dead(context: click.Context, ids: tuple[str, ...], yes: bool, json: bool) -> None:
    """Delete dead letters for good, with all their attempts."""
    jobs = jobs_of(context)
    if not yes:
        click.confirm(f"Delete {len(ids)} dead letter(s) for good?", abort=True, err=True)
    for id in ids:
        rows = jobs.purge(id)
        if json:
            print_json([{"id": id, "purged_attempts": rows}])
        else:
            click.echo(f"{id} is purged, {rows} attempt(s)")
