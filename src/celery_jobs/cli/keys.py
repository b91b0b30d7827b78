"""The command for idempotency keys: release-key."""

from __future__ import annotations

import click

from celery_jobs.cli.completion import complete_task
from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.parameters import NON_EMPTY
from celery_jobs.cli.screen import tell

__all__ = ["release_key"]


@click.command("release-key")
@click.argument("key", type=NON_EMPTY)
@click.argument("scope", type=NON_EMPTY, shell_complete=complete_task)
@as_json
@door
def release_key(context: click.Context, key: str, scope: str, json: bool) -> None:
    """Free an idempotency key for a new job.

    The job that has it stays as it is otherwise. SCOPE is the name of its task, of an HTTP job that of the queue, or
    the idempotency_scope that it was enqueued with.

    \b
      celery -A shop jobs release-key order-42 shop.charge
    """
    run = jobs_of(context).release_key(key, scope)
    tell(run.to_json(), f"the key {key} is free; {run.id} had it", json)
