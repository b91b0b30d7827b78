"""The commands for the dead-letter queue: list, show, replay, purge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.bulk import act, bulk_options
from celery_jobs.cli.door import Refused, as_json, door, jobs_of
from celery_jobs.cli.filters import filter_options, with_whole_ids
from celery_jobs.cli.order import InOrder
from celery_jobs.cli.runs import limited, print_page, print_whole, whole_page, with_traceback
from celery_jobs.cli.runs_table import print_dead_letters
from celery_jobs.cli.screen import tell
from celery_jobs.cli.verbs import replay_chosen
from celery_jobs.states import FinalStatus
from celery_jobs.words import plural

if TYPE_CHECKING:
    from celery_jobs.cli.bulk import Chosen
    from celery_jobs.jobs import Jobs, VerbName

__all__ = ["dlq"]

_DEAD = {"final_status": str(FinalStatus.DEAD_LETTERED)}


@click.group(cls=InOrder)
def dlq() -> None:
    """The dead-letter queue: what used up its attempts."""


@dlq.command("list")
@filter_options(states=False)
@limited
@as_json
@door
def list_dead(context: click.Context, where: Any, limit: int, cursor: str | None, json: bool) -> None:
    """List dead letters with their last errors.

    Newest job first; with the time of death and, where there is room, of the replay.

    \b
      celery -A shop jobs dlq list --queue emails --dead-since 1d
    """
    jobs = jobs_of(context)
    page = whole_page(jobs, with_whole_ids(jobs, where | _DEAD), limit, cursor)
    print_page(page, json, print_dead_letters, "no dead letters" if where else "the dead-letter queue is empty")


@dlq.command("show")
@click.argument("id")
@with_traceback
@as_json
@door
def show_dead(context: click.Context, id: str, traceback: bool, json: bool) -> None:
    """Show one dead letter with all its attempts.

    \b
      celery -A shop jobs dlq show 0199b2f4
    """
    jobs = jobs_of(context)
    print_whole(jobs, _dead_letter(jobs, id), traceback, json)


@dlq.command("replay")
@click.option("--reason", help="Why, for the record.")
@click.option("--force", is_flag=True, help="Also what has been replayed before.")
@bulk_options(always=_DEAD)
@door
def replay_dead(context: click.Context, chosen: Chosen, reason: str | None, force: bool) -> None:
    """Run dead letters again, as new jobs.

    Links and the rest of a chain run on; a group or chord hears nothing of it.

    \b
      celery -A shop jobs dlq replay 0199b2f4 --reason "stock is back"
      celery -A shop jobs dlq replay --task charge_card --dry-run
      celery -A shop jobs dlq replay --all --rate 50/s --yes
    """
    jobs = jobs_of(context)
    for id in chosen.ids:
        _dead_letter(jobs, id)
    replay_chosen(jobs, chosen, reason, force)


@dlq.command("purge")
@bulk_options(always=_DEAD)
@door
def purge_dead(context: click.Context, chosen: Chosen) -> None:
    """Delete dead letters for good.

    With all their attempts. Asks for their count to be typed in; --yes takes that out of a script's way.

    \b
      celery -A shop jobs dlq purge 0199b2f4
      celery -A shop jobs dlq purge --task charge_card --dead-until 7d
    """
    jobs = jobs_of(context)
    dead = [] if chosen.yes and not chosen.is_single else [_dead_letter(jobs, id) for id in chosen.ids]
    if chosen.is_single and chosen.yes:
        id = dead[0]
        attempts = jobs.purge(id)
        tell({"id": id, "purged_attempts": attempts}, f"{id} is purged, {plural(attempts, 'attempt')}", chosen.json)
    else:
        act(jobs, chosen, "purge", jobs.purge_many, _confirm_count)


def _dead_letter(jobs: Jobs, id: str) -> str:
    """The run's id, refused where it is not in the dead-letter queue."""
    run = jobs.get(jobs.find(id))
    if run.final_status != FinalStatus.DEAD_LETTERED:
        state = run.final_status or run.status
        raise Refused(f"the job {run.id} is not in the dead-letter queue, it is {state}; see it with: jobs show")
    return run.id


def _confirm_count(verb: VerbName, matched: int) -> None:
    question = f"Type {matched} to delete {plural(matched, 'dead letter')} for good"
    typed = click.prompt(question, default="", show_default=False, err=True)
    if typed.strip() != str(matched):
        raise Refused("nothing was purged")
