"""What became of a bulk verb, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_jobs.cli.screen import print_json, say

if TYPE_CHECKING:
    from celery_jobs.bulk import BulkResult

__all__ = ["print_result"]

_DONE = {
    "replay": "replayed",
    "cancel": "cancelled",
    "fire": "fired",
    "purge": "purged",
    "delete": "deleted",
    "erase": "erased",
}
_ASKED = {"cancel": "cancelled or asked to stop"}
"""Where what was done is more than one thing."""

_WHY = {
    "already_replayed": "already replayed (--force replays again)",
    "arguments_do_not_fit": "with arguments that no longer fit the task",
    "job_dead_lettered": "in the dead-letter queue (purge removes them)",
    "job_ended": "ended already",
    "job_erased": "erased",
    "job_not_ended": "not ended yet",
    "job_not_found": "not found",
    "job_running": "running now",
    "job_untold": "whose end Celery has not been told yet",
    "results_unavailable": "left, as Celery's result store does not answer",
    "not_dead_lettered": "not in the dead-letter queue",
}


def print_result(result: BulkResult, json: bool) -> None:
    """One object for programs; for people a line, and the ids of what no longer binds to its task's signature."""
    if json:
        print_json([result.to_json()])
        return
    click.echo(_line(result))
    unfit = result.skipped.get("arguments_do_not_fit", ())
    if unfit:
        click.echo("arguments no longer fit the task's signature (replay one alone to see why):")
    for id in unfit:
        click.echo(f"  {id}")
    if result.stopped:
        going_on = f"go on with --after {result.cursor}" if result.cursor else "nothing was done yet"
        say(f"stopped before its end; {going_on}")


def _line(result: BulkResult) -> str:
    if not result.matched:
        return f"no runs to {result.verb}"
    past = _DONE[result.verb] if result.dry_run else _ASKED.get(result.verb, _DONE[result.verb])
    line = f"{result.done:,} {'would be ' if result.dry_run else ''}{past}"
    if result.skipped_count:
        reasons = ", ".join(f"{len(ids):,} {_WHY.get(why, why)}" for why, ids in sorted(result.skipped.items()))
        line = f"{line}, {result.skipped_count:,} skipped: {reasons}"
    return line
