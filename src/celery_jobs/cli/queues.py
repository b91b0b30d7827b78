"""The commands that count: queues and stats."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.parameters import WINDOW
from celery_jobs.cli.screen import Screen, print_json
from celery_jobs.cli.tables import Column, print_table
from celery_jobs.cli.what_if import print_what_if, refuse_without, what_if_options
from celery_jobs.words import age, error_line, moment, one_line, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_jobs.store.stats import ErrorGroup, QueueStats

__all__ = ["queues", "stats"]

HOUR = 3600.0

_NOW = (
    Column("QUEUE", least=8),
    *(Column(title, right=True) for title in ("WAITING", "SCHEDULED", "RETRYING", "RUNNING", "DEAD", "OLDEST")),
)
_ENDED = (
    Column("QUEUE", least=8),
    *(Column(title, right=True) for title in ("ENDED", "A MINUTE", "SUCCESS", "DEAD", "FAILED", "CANCELLED")),
)
_ERRORS = (
    Column("DEAD", right=True),
    Column("TASK", least=12, keeps_end=True),
    Column("FIRST", right=True),
    Column("LAST", right=True),
    Column("ERROR", least=16),
)

windowed = click.option(
    "--window", type=WINDOW, default=HOUR, show_default="1h", help="How far back what ended is counted: 15m, 1d."
)


@click.command()
@as_json
@door
def queues(context: click.Context, json: bool) -> None:
    """What each queue holds now.

    WAITING is due, SCHEDULED is due later, RETRYING are the retries of those, DEAD is the dead-letter queue.
    OLDEST is how long the oldest waiting job has been due.

    \b
      celery -A shop jobs queues
    """
    found = jobs_of(context).queues()
    if json:
        print_json(queue.to_json() for queue in found)
    else:
        paused = (Column("PAUSED", rank=2, least=6),)
        rows = [[*_now(queue), f"{queue.ended:,}", _paused(queue)] for queue in found]
        print_table(Screen(), (*_NOW, Column("ENDED 1H", rank=1, right=True), *paused), rows)


@click.command()
@windowed
@what_if_options
@as_json
@door
def stats(context: click.Context, window: float, what_if: bool, json: bool, **asked: Any) -> None:
    """Counts, rates and what jobs died of.

    The states of each queue, what ended lately and how much of it a minute, and the dead letters by their error.
    With --what-if nothing of that: what would have become of the runs that failed with retries off, and which runs look
    like duplicates.

    \b
      celery -A shop jobs stats --window 15m
      celery -A shop jobs stats --what-if --since 7d
    """
    refuse_without(context, what_if)
    jobs = jobs_of(context)
    if what_if:
        print_what_if(jobs.what_if(**asked), json)
        return
    found, errors = jobs.queues(window), jobs.error_groups()
    if json:
        print_json(_objects(found, errors, window))
    else:
        _print_stats(found, errors, window)


def _objects(found: Sequence[QueueStats], errors: Sequence[ErrorGroup], window: float) -> list[dict[str, Any]]:
    """A line a queue, one for their sum, a line an error."""
    minutes = window / 60
    per_queue = [
        {"kind": "queue", **queue.to_json(), "ended_a_minute": round(queue.ended / minutes, 3)} for queue in found
    ]
    total = _total(found)
    sums = {name: value for name, value in asdict(total).items() if isinstance(value, int)}
    oldest = {"oldest_waiting_at": total.oldest_waiting_at, "ended": total.ended}
    whole = {"kind": "total", "window": window, **sums, **oldest, "ended_a_minute": round(total.ended / minutes, 3)}
    return [*per_queue, whole, *({"kind": "error", **error.to_json()} for error in errors)]


def _total(found: Sequence[QueueStats]) -> QueueStats:
    from celery_jobs.store.stats import QueueStats

    names = [f.name for f in fields(QueueStats) if f.type == "int"]
    oldest = [queue.oldest_waiting_at for queue in found if queue.oldest_waiting_at is not None]
    sums: dict[str, Any] = {name: sum(getattr(queue, name) for queue in found) for name in names}
    return QueueStats("all", oldest_waiting_at=min(oldest, default=None), **sums)


def _print_stats(found: Sequence[QueueStats], errors: Sequence[ErrorGroup], window: float) -> None:
    screen = Screen()
    every = [*found, _total(found)]
    screen.print(Text("now", "bold underline"))
    print_table(screen, _NOW, [_now(queue) for queue in every], totals=True)
    screen.print(Text(f"\nended in the last {span(window)}", "bold underline"))
    print_table(screen, _ENDED, [_ended(queue, window) for queue in every], totals=True)
    if errors:
        screen.print(Text("\nwhat the dead letters died of", "bold underline"))
        print_table(screen, _ERRORS, [_error(group) for group in errors])


def _now(queue: QueueStats) -> list[str]:
    counts = (queue.waiting, queue.scheduled, queue.retrying, queue.processing, queue.dead_lettered)
    return [one_line(queue.queue), *(f"{count:,}" for count in counts), age(queue.oldest_waiting_at) or "-"]


def _ended(queue: QueueStats, window: float) -> list[str]:
    ends = (queue.ended_success, queue.ended_dead_lettered, queue.ended_failed_no_retries, queue.ended_cancelled)
    rate = f"{queue.ended * 60 / window:,.1f}"
    return [one_line(queue.queue), f"{queue.ended:,}", rate, *(f"{count:,}" for count in ends)]


def _error(group: ErrorGroup) -> list[str]:
    reason = f" ({group.failure_reason})" if group.failure_reason else ""
    error = error_line(f"{group.error_type or ''}{reason}", group.error_message)
    return [f"{group.count:,}", one_line(group.task) or "-", age(group.first_at), age(group.last_at), error]


def _paused(queue: QueueStats) -> str:
    if queue.paused_at is None:
        return ""
    until = f" until {moment(queue.paused_until)}" if queue.paused_until else ""
    why = f": {one_line(queue.paused_reason)}" if queue.paused_reason else ""
    return f"for {age(queue.paused_at)}{until}{why}"
