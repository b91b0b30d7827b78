"""The commands for alerts: test."""

from __future__ import annotations

import click

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.order import InOrder
from celery_jobs.cli.screen import Screen, print_json
from celery_jobs.cli.tables import Column, print_table

__all__ = ["alert"]


@click.group(cls=InOrder)
def alert() -> None:
    """Alerts: what people are told of dead letters."""


@alert.command("test")
@click.option("-q", "--queue", help="Where its alerts go; else where those go that have no list of their own.")
@as_json
@door
def test(context: click.Context, queue: str | None, json: bool) -> None:
    """Send a test to where alerts go.

    Says what became of it at each destination; ends with 1 where one did not take it.

    \b
      celery -A shop jobs alert test
      celery -A shop jobs alert test --queue payments
    """
    deliveries = jobs_of(context).test_alert(queue)
    if json:
        print_json(delivery.to_json() for delivery in deliveries)
    else:
        columns = (Column("SERVICE"), Column("TEST", least=8))
        print_table(Screen(), columns, [[found.service, found.error or "sent"] for found in deliveries])
    if any(found.error for found in deliveries):
        context.exit(1)
