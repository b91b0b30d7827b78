"""`celery -A app jobs …`: the admin script. Each command parses, calls one verb of `Jobs`, and renders."""

from __future__ import annotations

import click

from celery_jobs.cli.dlq import dlq
from celery_jobs.cli.maintenance import check, migrate, promote, reap, sweep
from celery_jobs.cli.runs import cancel, list_runs, replay, show

__all__ = ["jobs"]


@click.group(name="jobs")
def jobs() -> None:
    """See and repair jobs.

    \b
    Exit codes: 0 done, 1 refused or something is wrong, 2 wrong usage,
    3 no such job, 4 the database does not answer or has the wrong schema.
    """


for command in (list_runs, show, replay, cancel, dlq, promote, sweep, reap, migrate, check):
    jobs.add_command(command)
