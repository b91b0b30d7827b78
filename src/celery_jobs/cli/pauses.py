"""The commands that hold a queue and let it go on: pause, resume, drain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.door import as_json, door, jobs_of, me
from celery_jobs.cli.parameters import DURATION, EXPIRY, NON_EMPTY
from celery_jobs.cli.screen import say, tell
from celery_jobs.words import moment, plural

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from celery_jobs.store.pauses import Pause

__all__ = ["drain", "pause", "resume"]


def _why(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say until when, by whom and why."""
    command = click.option("--reason", help="Why, for the record.")(command)
    command = click.option("--by", default=me, show_default="you", help="Who, for the record.")(command)
    end = click.option(
        "--until", type=EXPIRY, help="When it goes on by itself: a moment, or a time from now such as 2h."
    )
    return end(command)


@click.command()
@click.argument("queue", type=NON_EMPTY)
@_why
@as_json
@door
def pause(
    context: click.Context, queue: str, until: datetime | float | None, by: str | None, reason: str | None, json: bool
) -> None:
    """Hold a queue: nothing of it is started or sent.

    Enqueueing goes on, and what runs ends. Pausing again changes until when, by whom and why.

    \b
      celery -A shop jobs pause emails --reason "the provider is down"
      celery -A shop jobs pause emails --until 2h
    """
    jobs = jobs_of(context)
    made = jobs.pause(queue, until, by, reason)
    tell(made.to_json(), f"{_paused(made)}; {plural(jobs.running(queue), 'job')} of it still run", json)


@click.command()
@click.argument("queue", type=NON_EMPTY)
@as_json
@door
def resume(context: click.Context, queue: str, json: bool) -> None:
    """Let a queue go on, and send what is due.

    \b
      celery -A shop jobs resume emails
    """
    sent = jobs_of(context).resume(queue)
    tell({"queue": queue, "sent": sent}, f"the queue {queue} goes on, {plural(sent, 'job')} sent", json)


@click.command()
@click.argument("queue", type=NON_EMPTY)
@click.option("--timeout", type=DURATION, help="How long to wait, such as 5m; without it as long as it takes.")
@_why
@as_json
@door
def drain(
    context: click.Context,
    queue: str,
    timeout: float | None,
    until: datetime | float | None,
    by: str | None,
    reason: str | None,
    json: bool,
) -> None:
    """Hold a queue and wait until nothing of it runs.

    It stays paused. The exit code is 5 where something still runs after the timeout.

    \b
      celery -A shop jobs drain emails --timeout 10m && deploy
    """
    jobs = jobs_of(context)
    made = jobs.pause(queue, until, by, reason)
    say(f"{_paused(made)}; waiting for {plural(jobs.running(queue), 'job')}")
    jobs.wait_idle(queue, timeout)
    tell(made.to_json(), f"nothing of the queue {queue} runs", json)


def _paused(made: Pause) -> str:
    return f"the queue {made.queue} is paused" + (f" until {moment(made.paused_until)}" if made.paused_until else "")
