"""The commands for callbacks: resend."""

from __future__ import annotations

import click

from celery_jobs.callbacks import ended_attempt
from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.order import InOrder
from celery_jobs.cli.screen import tell
from celery_jobs.ids import parse_id

__all__ = ["callback"]


@click.group(cls=InOrder)
def callback() -> None:
    """Callbacks: the requests that tell others how an attempt ended."""


@callback.command("resend")
@click.argument("id")
@click.option("--attempt", type=click.IntRange(min=1), help="The number of the attempt that it tells of.")
@as_json
@door
def resend(context: click.Context, id: str, attempt: int | None, json: bool) -> None:
    """Send a callback again.

    That of the latest attempt that has ended, or of the one that ID or --attempt names. A worker sends it at its next
    look, within 15 seconds, with the same webhook-id as before, by which a receiver knows it again. One that is being
    sent at this moment is left alone.

    \b
      celery -A shop jobs callback resend 0199b2f4
      celery -A shop jobs callback resend 0199b2f4 --attempt 1
    """
    from celery_jobs.store.callbacks import SENDING

    jobs = jobs_of(context)
    found = id if parse_id(id) else jobs.find(id)
    run = jobs.resend_callback(found, attempt)
    state = ended_attempt(run.attempts, found, attempt).callback_state
    words = "is being sent right now" if state == SENDING else "is due now"
    tell(run.to_json(), f"a callback of {run.id} {words}", json)
