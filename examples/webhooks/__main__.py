"""The command line: `python -m webhooks`."""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from threading import Event

import click

from webhooks import deliveries, endpoints


@click.group()
def main() -> None:
    """A small webhook product on celery-jobs."""


@main.command()
@click.option("--port", type=int, default=8090, help="The receiver's port.")
def up(port: int) -> None:
    """Run a broker, a worker and a receiver, until Ctrl-C."""
    from webhooks.laptop import running

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running(port) as receiver:
            click.echo(f"ready: register {receiver.url('/shop')}, or any other path")
            Event().wait()
    except KeyboardInterrupt:
        click.echo("all has ended")


@main.command()
@click.argument("url")
@click.argument("event_types", nargs=-1, required=True)
def register(url: str, event_types: tuple[str, ...]) -> None:
    """Deliver events of some types to a URL."""
    click.echo(endpoints.register(url, event_types).id)


@main.command()
@click.argument("event_type")
@click.argument("payload")
@click.option("--id", "event_id", help="What has happened; the same again is delivered no second time.")
def publish(event_type: str, payload: str, event_id: str | None) -> None:
    """Publish an event. PAYLOAD is JSON."""
    for run in deliveries.publish(event_type, json.loads(payload), event_id):
        click.echo(f"{run.id}{' (published before)' if run.deduplicated else ''}")


@main.command(name="deliveries")
def list_deliveries() -> None:
    """Show the endpoints and the latest deliveries to each."""
    for endpoint in endpoints.everyone():
        click.echo(f"{endpoint.id} {endpoint.url} {endpoint.disabled_because or 'enabled'}")
        for run in deliveries.recent(endpoint):
            state = run.final_status or run.status
            errors = [attempt.error_message for attempt in run.attempts if attempt.error_message]
            click.echo(f"  {run.id} {state} attempt {run.attempt_number} {''.join(errors[-1:])}".rstrip())


@main.command()
@click.argument("endpoint_id")
def enable(endpoint_id: str) -> None:
    """Deliver to an endpoint again. What failed meanwhile waits for `replay`."""
    endpoints.enable(endpoints.get(endpoint_id).id)


@main.command()
@click.argument("endpoint_id")
@click.option("--hours", type=float, default=24, help="How far back; 24 where nothing is said.")
def replay(endpoint_id: str, hours: float) -> None:
    """Send what has failed for good to an endpoint, each event once."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    result = deliveries.replay_failed(endpoints.get(endpoint_id), since)
    click.echo(f"{result.done} replayed, {result.skipped_count} replayed before")


if __name__ == "__main__":
    try:
        main(prog_name="python -m webhooks")
    except (LookupError, ValueError) as error:  # celery_jobs.InvalidJob too
        sys.exit(f"error: {error}")
