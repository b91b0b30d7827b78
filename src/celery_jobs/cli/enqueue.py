"""The command that makes jobs: one from its options, or many from lines of JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.completion import complete_queue, complete_task
from celery_jobs.cli.door import Refused, as_json, door, jobs_of
from celery_jobs.cli.enqueue_file import enqueue_lines
from celery_jobs.cli.parameters import DURATION, EXPIRY, MOMENT, JsonType
from celery_jobs.cli.runs import print_end
from celery_jobs.cli.screen import tell
from celery_jobs.runs import MARKS
from celery_jobs.words import moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from celery_jobs.jobs import Jobs
    from celery_jobs.runs import Run

__all__ = ["enqueue", "job_options", "print_enqueued", "recurring_options", "with_options", "with_wait"]

FOR_EVER = "for ever"


def _delays(context: click.Context, parameter: click.Parameter, value: str | None) -> list[float] | None:
    return None if value is None else [DURATION.convert(part, parameter, context) for part in value.split(",")]


def _tags(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> Any:
    """A list of them, or an object where they are pairs."""
    pairs = [tag.partition("=") for tag in value if "=" in tag]
    if pairs and len(pairs) < len(value):
        raise click.BadParameter("give either plain tags or k=v pairs, not both", context, parameter)
    return {key: text for key, _, text in pairs} if pairs else list(value) or None


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    return float("inf") if value == FOR_EVER else DURATION.convert(value, parameter, context) if value else None


_WHERE = (
    click.option("--queue", shell_complete=complete_queue, help="Where it waits; else where its task is routed."),
    click.option("--delay", type=DURATION, help="Run it so much later: 90, 30m, 2h; a day at most."),
)

_ONCE = (
    click.option("--at", "scheduled_at", type=MOMENT, help="Run it then: 2026-04-10T12:00Z."),
    click.option("--key", "idempotency_key", help="Idempotency key: a second enqueue with it finds the first job."),
    click.option("--key-ttl", "idempotency_ttl", type=DURATION, help="After that time the key is free again: 30m, 7d."),
    click.option(
        "--on-conflict",
        type=click.Choice(["return", "replace"]),
        help="Where a job with that key is there already: give it, or replace it while it waits.",
    ),
)

_HOW = (
    click.option("--priority", type=int, help="Higher first; 0 where nothing is said."),
    click.option("--tag", "tags", multiple=True, callback=_tags, help="A tag, or k=v; may be given again."),
    click.option("--max-attempts", type=int, help="Attempts at most, the first included."),
    click.option("--retry-delays", callback=_delays, metavar="1,2,3", help="Waits before attempts 2, 3 …"),
    click.option("--expires", type=EXPIRY, help="Cancel it where it has not begun by then: 2h, or a moment."),
    click.option("--callback-url", help="Where the end of each attempt is told."),
)

with_wait = click.option(
    "--wait", is_flag=False, flag_value=FOR_EVER, metavar="[SECONDS]", callback=_seconds, help="Until its end."
)


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a job."""
    return with_options(command, *_WHERE, *_ONCE, *_HOW)


def recurring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command those that may be the same of many jobs: no key, and no moment."""
    return with_options(command, *_WHERE, *_HOW)


def with_options(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command options, which its help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("task", required=False, shell_complete=complete_task)
@click.option("--args", type=JsonType(list, "a list"), help="Positional arguments: '[1, 2]'.")
@click.option("--kwargs", type=JsonType(dict, "an object"), help="Keyword arguments: '{\"x\": 1}'.")
@job_options
@click.option("--from", "file", type=click.File(encoding="utf-8"), help="A file with an object a line; - for stdin.")
@click.option("--atomic", is_flag=True, help="With --from: all lines or none, up to 10,000.")
@with_wait
@as_json
@door
def enqueue(
    context: click.Context, task: str | None, file: TextIO | None, atomic: bool, json: bool, **given: Any
) -> None:
    """Enqueue a TASK, or one for each line of a file.

    A line of the file is an object with task, args, kwargs and options of a job; the options given here are those
    of every line that does not say otherwise.

    \b
      celery -A shop jobs enqueue charge_card --args '[7]' --kwargs '{"cents": 4200}' --key order-7
      celery -A shop jobs enqueue build_report --args '["2026-04"]' --delay 2h --tag reports --wait 5m
      echo '{"task": "send_receipt", "args": [7], "delay": 60}' | celery -A shop jobs enqueue --from -
    """
    _require_one_way(task, file, atomic, given)
    jobs = jobs_of(context)
    args, kwargs, wait = given.pop("args"), given.pop("kwargs"), given.pop("wait")
    options = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        enqueue_lines(jobs, file, atomic, json, options)
    else:
        _enqueue_one(jobs, {"task": task, "args": args or [], "kwargs": kwargs or {}, **options}, wait, json)


def _require_one_way(task: str | None, file: TextIO | None, atomic: bool, given: dict[str, Any]) -> None:
    if (task is None) == (file is None):
        raise click.UsageError("give either a TASK or --from FILE")
    alone = [f"--{name}" for name in ("args", "kwargs", "wait") if given[name] is not None]
    if file is not None and alone:
        raise click.UsageError(f"{' and '.join(alone)} go with a TASK, not with --from")
    if atomic and file is None:
        raise click.UsageError("--atomic goes with --from")


def _enqueue_one(jobs: Jobs, item: dict[str, Any], wait: float | None, json: bool) -> None:
    """One job; with `wait`, until its end."""
    outcome = jobs.enqueue_many([item])[0]
    if outcome.error is not None:
        raise Refused(outcome.error)
    run = jobs.get(str(outcome.job_id))
    run = replace(run, **{name: getattr(outcome, name) for name in MARKS})
    print_enqueued(jobs, run, wait, json)


def print_enqueued(jobs: Jobs, run: Run, wait: float | None, json: bool) -> None:
    """What was made or found; with `wait`, how it ended."""
    if wait is None:
        tell(run.to_json(), _words(run), json)
    else:
        ended = jobs.wait(run.id, None if wait == float("inf") else wait)
        print_end(replace(ended, **{name: getattr(run, name) for name in MARKS}), json)


def _words(run: Run) -> str:
    if run.replaced:
        return f"{run.id} waited with that key and is replaced" + _later(run)
    if run.deduplicated:
        other = ", with other arguments" if run.payload_mismatch else ""
        return f"{run.id} has that key already{other}: it is {run.final_status or run.status}"
    return f"{run.id} is enqueued on {run.queue}{_later(run)}"


def _later(run: Run) -> str:
    later = (run.scheduled_at - run.created_at).total_seconds() >= 1
    return f", due {moment(run.scheduled_at)}" if later else ""
