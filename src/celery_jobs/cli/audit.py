"""The command that lists what was done, by whom."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING

import click

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.parameters import NON_EMPTY
from celery_jobs.cli.screen import Screen, print_json, say
from celery_jobs.cli.tables import Column, print_table
from celery_jobs.words import act_result, moment, one_line

if TYPE_CHECKING:
    from celery_jobs.store.audit import Act

__all__ = ["audit"]

_COLUMNS = (
    Column("AT"),
    Column("WHO", least=8),
    Column("DOOR", 3),
    Column("DID"),
    Column("RESULT", 1, least=8),
    Column("TO", 2, least=12),
    Column("WHY", 4, least=12),
)


@click.command()
@click.option("--actor", type=NON_EMPTY, help="Acts of this name.")
@click.option("--action", type=NON_EMPTY, help="Acts of this kind: replay_many, pause …")
@click.option("--door", "way", type=click.Choice(["cli", "dashboard", "rest"]), help="Acts through this door.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@door
def audit(
    context: click.Context, actor: str | None, action: str | None, way: str | None, limit: int, json: bool
) -> None:
    """List who did what, to what, and why.

    The newest act first. Looking is no act, and what the app's own code does is not among them.

    \b
      celery -A shop jobs audit --actor ada --action replay_many
    """
    found = jobs_of(context).acts(limit, actor=actor, action=action, door=way)
    if json:
        print_json(act.to_json() for act in found)
    elif found:
        print_table(Screen(), _COLUMNS, [_row(act) for act in found])
    else:
        say("no acts")


def _row(act: Act) -> list[str]:
    target = jsonlib.dumps(act.target, ensure_ascii=False)
    said = [moment(act.at), one_line(act.actor), act.door, act.action, act_result(act), one_line(target)]
    return [*said, one_line(act.reason)]
