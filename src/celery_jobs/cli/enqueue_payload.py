"""The command that makes jobs for outside workers."""

from __future__ import annotations

from typing import Any

import click

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.enqueue import job_options, print_enqueued, with_wait
from celery_jobs.cli.parameters import JsonType

__all__ = ["enqueue_payload"]


@click.command("enqueue-payload")
@click.argument("payload", type=JsonType(object, "JSON"))
@job_options
@with_wait
@as_json
@door
def enqueue_payload(
    context: click.Context, payload: Any, queue: str | None, wait: float | None, json: bool, **given: Any
) -> None:
    """Enqueue a PAYLOAD, in JSON, for outside workers.

    Its queue is one with mode "pull" in jobs_queues.

    \b
      celery -A shop jobs enqueue-payload '{"image": 7}' --queue thumbnails --key image-7
    """
    if queue is None:
        raise click.UsageError("--queue is missing: one with mode 'pull' in jobs_queues")
    jobs = jobs_of(context)
    options = {name: value for name, value in given.items() if value is not None}
    print_enqueued(jobs, jobs.enqueue_payload(queue, payload, **options), wait, json)
