"""The commands that change runs: replay, cancel, fire, delete, erase."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from celery_jobs.cli.bulk import act, bulk_options
from celery_jobs.cli.door import door, jobs_of
from celery_jobs.cli.screen import tell
from celery_jobs.words import plural

if TYPE_CHECKING:
    from celery_jobs.cli.bulk import Chosen
    from celery_jobs.jobs import Jobs

__all__ = ["cancel", "delete", "erase", "fire", "replay", "replay_chosen"]


@click.command()
@click.option("--reason", help="Why, for the record.")
@click.option("--force", is_flag=True, help="Also what has been replayed before.")
@bulk_options()
@door
def replay(context: click.Context, chosen: Chosen, reason: str | None, force: bool) -> None:
    """Run ended jobs again, as new ones.

    One ID is replayed at once. Several, or a filter (of which the dead letters are meant unless it names a state),
    are counted and shown first. Links and the rest of a chain run on; a group or chord hears nothing of it.

    \b
      celery -A shop jobs replay 0199b2f4 --reason "stock is back"
      celery -A shop jobs replay --error-type ConnectionError --dead-since 2h --rate 50/s
    """
    replay_chosen(jobs_of(context), chosen, reason, force)


def replay_chosen(jobs: Jobs, chosen: Chosen, reason: str | None, force: bool) -> None:
    """Replay what was chosen: one run at once, many as every bulk verb is done."""
    if chosen.is_single:
        run = jobs.replay(jobs.find(chosen.ids[0]), reason=reason, force=force)
        tell(run.to_json(), f"{run.replay_of} is replayed as {run.id}", chosen.json)
    else:
        act(jobs, chosen, "replay", partial(jobs.replay_many, reason=reason, force=force))


@click.command()
@click.option("--terminate", is_flag=True, help="Kill what runs.")
@bulk_options()
@door
def cancel(context: click.Context, chosen: Chosen, terminate: bool) -> None:
    """Cancel jobs that have not ended.

    What waits is cancelled at once, what runs is asked to stop, or with --terminate killed by its worker within
    seconds. A filter means those that have not ended, unless it names a state.

    \b
      celery -A shop jobs cancel 0199b2f4
      celery -A shop jobs cancel 0199b2f4 --terminate
      celery -A shop jobs cancel --queue newsletters --status pending --yes
    """
    jobs = jobs_of(context)
    if chosen.is_single:
        run = jobs.cancel(jobs.find(chosen.ids[0]), terminate=terminate)
        asked = "about to be killed" if terminate else "asked to stop"
        tell(run.to_json(), f"{run.id} is {'cancelled' if run.has_ended else asked}", chosen.json)
    else:
        act(jobs, chosen, "cancel", partial(jobs.cancel_many, terminate=terminate))


@click.command()
@bulk_options()
@door
def fire(context: click.Context, chosen: Chosen) -> None:
    """Send what waits now, before its time.

    Delayed jobs, and retries. A filter means those that wait, unless it names a state.

    \b
      celery -A shop jobs fire 0199b2f4
      celery -A shop jobs fire --task charge_card --rate 20/s
    """
    jobs = jobs_of(context)
    if chosen.is_single:
        run = jobs.fire(jobs.find(chosen.ids[0]))
        tell(run.to_json(), f"{run.id} is due now", chosen.json)
    else:
        act(jobs, chosen, "fire", jobs.fire_many)


@click.command()
@bulk_options()
@door
def delete(context: click.Context, chosen: Chosen) -> None:
    """Delete jobs that wait or have ended.

    They are deleted for good, with all their attempts. Dead letters are purged instead (dlq purge), and what runs is
    left alone.

    \b
      celery -A shop jobs delete 0199b2f4
      celery -A shop jobs delete --status failed_no_retries --until 30d
    """
    jobs = jobs_of(context)
    if chosen.is_single:
        id = jobs.find(chosen.ids[0])
        attempts = jobs.delete(id)
        words = f"{id} is deleted, {plural(attempts, 'attempt')}"
        tell({"id": id, "deleted_attempts": attempts}, words, chosen.json)
    else:
        act(jobs, chosen, "delete", jobs.delete_many)


@click.command()
@bulk_options()
@door
def erase(context: click.Context, chosen: Chosen) -> None:
    """Erase what ended jobs were called with.

    And what came of it: results, answers, error texts, tracebacks, for good. That they ran, when and how they ended
    stays, as do tags and keys. What is erased cannot be replayed.

    \b
      celery -A shop jobs erase 0199b2f4
      celery -A shop jobs erase --tag customer:42
    """
    jobs = jobs_of(context)
    if chosen.is_single:
        run = jobs.erase(jobs.find(chosen.ids[0]))
        tell(run.to_json(), f"{run.id} is erased", chosen.json)
    else:
        act(jobs, chosen, "erase", jobs.erase_many)
