"""The commands for API tokens: make, list, revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_jobs.cli.door import as_json, door, jobs_of, me
from celery_jobs.cli.order import InOrder
from celery_jobs.cli.parameters import EXPIRY, NON_EMPTY
from celery_jobs.cli.screen import Screen, print_json, say, tell
from celery_jobs.cli.tables import Column, print_table
from celery_jobs.words import age, moment, one_line

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.store.tokens import Token

__all__ = ["tokens"]

SCOPES = ("read", "enqueue", "work", "operate", "admin")
RATE = 600

_COLUMNS = (
    Column("TOKEN"),
    Column("NAME", least=8),
    Column("SCOPES", 1),
    Column("QUEUES", 3, least=8),
    Column("USED", 2),
    Column("STATE", 1),
)


@click.group(cls=InOrder)
def tokens() -> None:
    """Make, list and revoke the API tokens of the REST API."""


@tokens.command()
@click.argument("name", type=NON_EMPTY)
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="What it may do.")
@click.option("--queue", "queues", multiple=True, help="A queue that it is for; all where none is named.")
@click.option("--expires", type=EXPIRY, help="When it ends: a moment, or a time from now such as 90d.")
@click.option("--rate", type=int, default=RATE, show_default=True, help="Requests a minute.")
@as_json
@door
def make(
    context: click.Context,
    name: str,
    scopes: tuple[str, ...],
    queues: tuple[str, ...],
    expires: datetime | float | None,
    rate: int,
    json: bool,
) -> None:
    """Make a token, and print it: it is not to be had again.

    \b
      read      see jobs, queues, schedules, events
      enqueue   make jobs
      work      claim the jobs of pull queues and end them
      operate   cancel, replay, fire, pause, resume; also what work may
      admin     delete, purge, erase, make schedules; also all the others

    \b
      celery -A shop jobs tokens make ci --scope read --scope enqueue --expires 90d
    """
    made = jobs_of(context).make_token(name, scopes, list(queues) or None, expires, rate, by=me())
    tell(made.to_json(), made.text, json)
    if not json:
        say("keep it: it is not shown again")


@tokens.command(name="list")
@as_json
@door
def list_tokens(context: click.Context, json: bool) -> None:
    """List the tokens.

    The newest first, also those that have ended.

    \b
      celery -A shop jobs tokens list
    """
    found = jobs_of(context).tokens()
    if json:
        print_json(token.to_json() for token in found)
    elif found:
        print_table(Screen(), _COLUMNS, [_row(token) for token in found])
    else:
        say("no tokens")


def _row(token: Token) -> list[str]:
    queues = "all" if token.queues is None else ", ".join(token.queues)
    used = "never" if token.last_used_at is None else f"{age(token.last_used_at)} ago"
    name = f"cjk_{token.prefix}…{token.last4}"
    return [name, one_line(token.name), ", ".join(token.scopes), one_line(queues), used, _state(token)]


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return f"revoked {moment(token.revoked_at)}"
    return "for ever" if token.expires_at is None else f"until {moment(token.expires_at)}"


@tokens.command()
@click.argument("token", type=NON_EMPTY)
@as_json
@door
def revoke(context: click.Context, token: str, json: bool) -> None:
    """End a token: its next request is refused.

    TOKEN is its id, or the 12 characters that it is named by.

    \b
      celery -A shop jobs tokens revoke PiDBYgrKpJPT
    """
    ended = jobs_of(context).revoke_token(token, by=me())
    tell(ended.to_json(), f"the token {ended.name} is revoked", json)
