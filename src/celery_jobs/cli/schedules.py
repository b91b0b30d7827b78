"""The commands for schedules in SQL: list, show, set, pause, resume, run, remove."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from celery_jobs.cli.completion import complete_task
from celery_jobs.cli.door import as_json, door, jobs_of, me
from celery_jobs.cli.enqueue import print_enqueued, recurring_options
from celery_jobs.cli.enqueue_http import given_of, request_options
from celery_jobs.cli.order import InOrder
from celery_jobs.cli.parameters import DURATION, NON_EMPTY, JsonType
from celery_jobs.cli.screen import Screen, print_json, tell
from celery_jobs.cli.tables import Column, print_table
from celery_jobs.words import age, moment, one_line, span

if TYPE_CHECKING:
    from celery_jobs.store.schedules import Schedule

__all__ = ["schedule"]

_COLUMNS = (
    Column("NAME", least=8),
    Column("WHEN", least=9),
    Column("MAKES", least=12, keeps_end=True),
    Column("NEXT"),
    Column("LAST", rank=1, right=True),
    Column("PAUSED", rank=2, least=6),
)

named = click.argument("name", type=NON_EMPTY)


@click.group(cls=InOrder)
def schedule() -> None:
    """Schedules: what beat makes a job of again and again.

    Those in SQL, which may be changed while everything runs; the entries of beat_schedule are the app's own.
    """


@schedule.command("list")
@as_json
@door
def list_schedules(context: click.Context, json: bool) -> None:
    """List all schedules.

    \b
      celery -A shop jobs schedule list
    """
    found = jobs_of(context).schedules()
    if json:
        print_json(one.to_json() for one in found)
    elif found:
        print_table(Screen(), _COLUMNS, [_row(one) for one in found])
    else:
        click.echo("there are no schedules")


@schedule.command("show")
@named
@as_json
@door
def show_schedule(context: click.Context, name: str, json: bool) -> None:
    """Show one schedule with all that is known of it.

    Its jobs are listed by: jobs list --tag schedule:NAME

    \b
      celery -A shop jobs schedule show nightly
    """
    found = jobs_of(context).get_schedule(name)
    if json:
        print_json([found.to_json()])
        return
    screen = Screen()
    for title, value in _facts(found):
        if value:
            screen.print_indented(Text(f"{title:<10}", "bold"), Text(value))


@schedule.command("set")
@named
@click.option("--task", shell_complete=complete_task, help="The task whose jobs it makes.")
@click.option("--args", type=JsonType(list, "a list"), help="Positional arguments: '[1, 2]'.")
@click.option("--kwargs", type=JsonType(dict, "an object"), help="Keyword arguments: '{\"x\": 1}'.")
@click.option("--url", help="The request whose jobs it makes, instead of a task.")
@click.option("--cron", help="When: minute, hour, day, month, day of the week: '30 2 * * 1-5'.")
@click.option("--timezone", help="Where that is: Europe/Berlin; else UTC.")
@click.option("--every", type=DURATION, help="When, instead: 90s, 5m, 2h.")
@click.option("--missed", type=click.Choice(["skip", "run"]), help="Ticks that nobody made in time: none, or one job.")
@click.option(
    "--overlap", type=click.Choice(["allow", "skip"]), help="A tick whose last job has not ended: made or not."
)
@request_options
@recurring_options
@as_json
@door
def set_schedule(context: click.Context, name: str, json: bool, **given: Any) -> None:
    """Make a schedule, or change the one of this NAME as a whole.

    What is not said is as it is by default; a pause stays.

    \b
      celery -A shop jobs schedule set nightly --task close_the_books --cron '30 2 * * *' --timezone Europe/Berlin
      celery -A shop jobs schedule set ping --url https://bank.example/health -X GET --every 5m --overlap skip
    """
    made = jobs_of(context).schedule(name, **given_of(given))
    tell(made.to_json(), f"{_called(made)} makes {one_line(_makes(made))} {_when(made)}, {_next(made)}", json)


@schedule.command("pause")
@named
@click.option("--by", default=me, show_default="you", help="Who, for the record.")
@click.option("--reason", help="Why, for the record.")
@as_json
@door
def pause_schedule(context: click.Context, name: str, by: str | None, reason: str | None, json: bool) -> None:
    """Let a schedule tick no more.

    \b
      celery -A shop jobs schedule pause nightly --reason stocktaking
    """
    made = jobs_of(context).pause_schedule(name, by, reason)
    tell(made.to_json(), f"{_called(made)} is paused", json)


@schedule.command("resume")
@named
@as_json
@door
def resume_schedule(context: click.Context, name: str, json: bool) -> None:
    """Let a schedule tick again, from now on.

    \b
      celery -A shop jobs schedule resume nightly
    """
    made = jobs_of(context).resume_schedule(name)
    tell(made.to_json(), f"{_called(made)} goes on, {_next(made)}", json)


@schedule.command("run")
@named
@as_json
@door
def run_schedule(context: click.Context, name: str, json: bool) -> None:
    """Make the job of a schedule now, beside its ticks.

    \b
      celery -A shop jobs schedule run nightly
    """
    jobs = jobs_of(context)
    print_enqueued(jobs, jobs.run_schedule(name), None, json)


@schedule.command("remove")
@named
@as_json
@door
def remove_schedule(context: click.Context, name: str, json: bool) -> None:
    """Delete a schedule; the jobs that it has made stay.

    \b
      celery -A shop jobs schedule remove nightly
    """
    jobs_of(context).remove_schedule(name)
    tell({"name": name, "removed": True}, f"the schedule {one_line(name)} is removed", json)


def _called(found: Schedule) -> str:
    return f"the schedule {one_line(found.name)}"


def _row(found: Schedule) -> list[str]:
    paused = f"for {age(found.paused_at)}" if found.paused_at else ""
    why = f"{paused}: {one_line(found.paused_reason)}" if found.paused_reason else paused
    upcoming = "-" if found.paused_at else moment(found.next_at)
    return [one_line(found.name), _when(found), one_line(_makes(found)), upcoming, age(found.last_at), why]


def _when(found: Schedule) -> str:
    return f"every {span(found.every)}" if found.every is not None else f"{found.cron} {found.timezone}"


def _makes(found: Schedule) -> str:
    url = found.kwargs.get("url") if found.task == "celery_jobs.http.request" else None
    return f"{found.kwargs.get('method', 'POST')} {url}" if url else found.task


def _next(found: Schedule) -> str:
    return "and is paused" if found.paused_at else f"next at {moment(found.next_at)}"


def _facts(found: Schedule) -> list[tuple[str, str]]:
    """What `show` says, by its titles."""
    paused = [f"since {moment(found.paused_at)}", found.paused_by and f"by {found.paused_by}", found.paused_reason]
    return [
        ("name", one_line(found.name)),
        ("makes", _makes(found)),
        ("args", jsonlib.dumps(found.args) if found.args else ""),
        ("kwargs", jsonlib.dumps(found.kwargs) if found.kwargs else ""),
        ("options", jsonlib.dumps(found.options) if found.options else ""),
        ("when", _when(found)),
        ("next", "-" if found.paused_at else moment(found.next_at)),
        ("last", f"{moment(found.last_at)}, job {found.last_job_id}" if found.last_at else "never"),
        ("missed", found.missed),
        ("overlap", found.overlap),
        ("paused", ", ".join(filter(None, paused)) if found.paused_at else ""),
        ("created", moment(found.created_at)),
        ("updated", moment(found.updated_at)),
    ]
