"""The commands for runs: list, show, replay, cancel."""

from __future__ import annotations

import click

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.tables import print_chain, print_json, print_runs

__all__ = ["cancel", "list_runs", "replay", "show"]


@click.command("list")
@click.option("--status", help="Any status or final status: pending, failed, dead_lettered, success …")
@click.option("--queue", help="Only jobs of this queue.")
@click.option("--task", help="Only jobs of this task.")
@click.option("--limit", default=25, show_default=True, help="Runs a page, 1 to 1,000.")
@click.option("--cursor", help="Where the page before ended.")
@as_json
@door
def list_runs(
    context: click.Context,
    status: str | None,
    queue: str | None,
    task: str | None,
    limit: int,
    cursor: str | None,
    json: bool,
) -> None:
    """List runs, newest first.

    \b
    celery -A shop jobs list --status dead_lettered --queue emails
    """
    page = jobs_of(context).list(status=status, queue=queue, task=task, limit=limit, cursor=cursor)
    if json:
        print_json(run.to_json() for run in page)
    else:
        print_runs(page, "no jobs")
    if page.cursor is not None:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@click.command()
@click.argument("id")
@as_json
@door
def show(context: click.Context, id: str, json: bool) -> None:
    """Show one run with all its attempts. ID is a job's id or a Celery task id."""
    jobs = jobs_of(context)
    run = jobs.get(id)
    if json:
        print_json([run.to_json()])
    else:
        print_chain(run, jobs.arguments(id))


@click.command()
@click.argument("id")
@click.option("--reason", help="Why, for the record.")
@click.option("--force", is_flag=True, help="Also where it has been replayed before.")
@as_json
@door
def replay(context: click.Context, id: str, reason: str | None, force: bool, json: bool) -> None:
    """Run an ended job again, as a new job with the same configuration."""
    run = jobs_of(context).replay(id, reason=reason, force=force)
    if json:
        print_json([run.to_json()])
    else:
        click.echo(f"{run.replay_of} is replayed as {run.id}")


@click.command()
@click.argument("id")
@as_json
@door
def cancel(context: click.Context, id: str, json: bool) -> None:
    """Cancel a job: at once what waits; what runs is asked to stop."""
    run = jobs_of(context).cancel(id)
    if json:
        print_json([run.to_json()])
    else:
        click.echo(f"{run.id} is {'cancelled' if run.has_ended else 'asked to stop'}")
