"""The commands that keep the store in order: promote, sweep, reap, migrate, check."""

from __future__ import annotations

import sys

import click

from celery_jobs.cli.door import as_json, door, jobs_of, plugin_here
from celery_jobs.cli.findings import print_findings
from celery_jobs.cli.screen import Screen, print_json

__all__ = ["check", "migrate", "promote", "reap", "sweep"]


def _run(context: click.Context, names: tuple[str, ...], json: bool, wording: str) -> None:
    from celery_jobs.services import make_service

    plugin = plugin_here(context)
    handled = {name: make_service(plugin, name).run_once() for name in names}
    if json:
        print_json([{"service": name, "handled": count} for name, count in handled.items()])
    else:
        click.echo(wording.format(*handled.values()))


@click.command()
@as_json
@door
def promote(context: click.Context, json: bool) -> None:
    """Send now what is due, and what got lost.

    \b
      celery -A shop jobs promote
    """
    _run(context, ("promoter", "redispatcher"), json, "{} job(s) promoted, {} sent again or ended")


@click.command()
@as_json
@door
def sweep(context: click.Context, json: bool) -> None:
    """Delete now what is older than queues keep.

    \b
      celery -A shop jobs sweep
    """
    _run(context, ("dead-letter-sweeper", "history-sweeper"), json, "{} dead letter(s) and {} old run(s) deleted")


@click.command()
@as_json
@door
def reap(context: click.Context, json: bool) -> None:
    """Bring back now the jobs of dead workers.

    \b
      celery -A shop jobs reap
    """
    _run(context, ("reaper",), json, "{} job(s) brought back")


@click.command()
@as_json
@door
def migrate(context: click.Context, json: bool) -> None:
    """Make or update the database schema.

    \b
      celery -A shop jobs migrate
    """
    from celery_jobs.store import migrations

    db = plugin_here(context).unchecked_db
    before = migrations.upgrade(db)
    url = db.url.render_as_string()
    if json:
        print_json([{"database": url, "before": before, "after": migrations.HEAD}])
    elif before == migrations.HEAD:
        click.echo(f"{url} is up to date (version {before})")
    else:
        click.echo(f"{url} is now at version {migrations.HEAD} ({'new' if before is None else f'was {before}'})")


@click.command()
@click.option("--strict", is_flag=True, help="Warnings are failures too.")
@as_json
@door
def check(context: click.Context, strict: bool, json: bool) -> None:
    """Examine settings, broker, database and jobs.

    The exit code is 1 where an error is found, with --strict also where a warning is.

    \b
      celery -A shop jobs check
      celery -A shop jobs check --strict --json
    """
    findings = jobs_of(context).examine()
    if json:
        print_json(finding.to_json() for finding in findings)
    else:
        print_findings(Screen(), findings)
    failures = {"error", "warning"} if strict else {"error"}
    sys.exit(1 if any(finding.severity in failures for finding in findings) else 0)
