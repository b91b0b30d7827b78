"""One flow for every bulk command: count, show some, ask, do it with progress, say what became of it."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.door import INTERRUPTED, NOT_FOUND, REFUSED, Refused, as_json
from celery_jobs.cli.filters import filter_options, with_whole_ids
from celery_jobs.cli.parameters import RATE
from celery_jobs.cli.progress import interruptible, progress_bar
from celery_jobs.cli.runs_table import print_runs
from celery_jobs.cli.screen import Screen, say
from celery_jobs.cli.summary import print_result
from celery_jobs.errors import JobNotFound
from celery_jobs.ids import parse_id
from celery_jobs.words import plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.bulk import BulkResult
    from celery_jobs.jobs import Jobs, VerbName

__all__ = ["Chosen", "act", "bulk_options"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a bulk command is for, by ids or by filter, and how it goes about it."""

    ids: tuple[str, ...]
    where: dict[str, Any]
    yes: bool
    dry_run: bool
    rate: float | None
    after: str | None
    json: bool

    @property
    def is_single(self) -> bool:
        """Whether it is for one run, to be done at once."""
        return len(self.ids) == 1 and not self.dry_run

    def target(self, jobs: Jobs) -> dict[str, Any]:
        """The ids made whole, or the filter: keywords of a bulk verb."""
        if not self.ids:
            where: Any = self.where
            return dict(with_whole_ids(jobs, where))
        return {"ids": [_whole(jobs, id) for id in self.ids]}


def _whole(jobs: Jobs, id: str) -> str:
    """An id as a bulk verb takes it; of one that nobody has, the verb itself says so."""
    try:
        return jobs.find(id)
    except JobNotFound:
        return id


def bulk_options(always: dict[str, Any] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command IDS, the options of a filter and of a bulk verb, as `chosen`.

    `always`: what every filter of the command asks besides; such a command has `--all` instead of states.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def chosen(ids: tuple[str, ...], where: dict[str, Any], all: bool = False, **options: Any) -> Any:
            how = {name: options.pop(name) for name in ("yes", "dry_run", "rate", "after", "json")}
            _require_one_way(ids, where, all, always is not None)
            _require_cursor(ids, how["after"])
            where = where if ids else {**where, **(always or {})}
            return command(chosen=Chosen(ids, where, **how), **options)

        for option in reversed(_OPTIONS if always is None else (_ALL, *_OPTIONS)):
            chosen = option(chosen)
        return click.argument("ids", nargs=-1)(filter_options(states=always is None)(chosen))

    return decorate


_ALL = click.option("--all", is_flag=True, help="Every dead letter.")
_OPTIONS = (
    click.option("--yes", is_flag=True, help="Do not ask."),
    click.option("--dry-run", is_flag=True, help="Only say what would be done."),
    click.option("--rate", type=RATE, help="So many at most: 50/s, 3000/m."),
    click.option("--after", metavar="CURSOR", help="Go on where a stopped one ended."),
    as_json,
)


def _require_one_way(ids: tuple[str, ...], where: dict[str, Any], all: bool, has_all: bool) -> None:
    ways = [bool(ids), bool(where), all]
    if sum(ways) > 1:
        raise click.UsageError("give either IDS or a filter, not both" + (", or --all alone" if has_all else ""))
    if not any(ways):
        also = ", or --all" if has_all else ""
        raise click.UsageError(f"say which: IDS, or a filter such as --queue emails or --since 2h{also}")


def _require_cursor(ids: tuple[str, ...], after: str | None) -> None:
    if after is not None and not ids and parse_id(after) is None:
        raise click.BadParameter(f"the cursor of a stopped command is expected, not {after!r}", param_hint="'--after'")


def act(
    jobs: Jobs,
    chosen: Chosen,
    verb: VerbName,
    many: Callable[..., BulkResult],
    confirm: Callable[[VerbName, int], None] | None = None,
) -> None:
    """Do a bulk verb to what was chosen; ends the command with its exit code."""
    target = chosen.target(jobs)
    preview = jobs.preview(verb, after=chosen.after, **target)
    if preview.matched and not chosen.dry_run and not chosen.yes:
        _require_somebody()
        _show(verb, preview.matched, preview.sample)
        (confirm or _confirm)(verb, preview.matched)
    if verb == "purge" and "ids" not in target:  # what dies while somebody thinks was not counted
        target["dead_lettered_before"] = min(target.get("dead_lettered_before") or preview.at, preview.at)
    with interruptible() as stop, progress_bar(verb, preview.matched, stop, chosen.json) as progress:
        how = {"dry_run": chosen.dry_run, "rate": chosen.rate, "after": chosen.after}
        result = many(**target, **how, stop=stop, progress=progress)
    print_result(result, chosen.json)
    sys.exit(_exit_code(result, bool(chosen.ids)))


def _require_somebody() -> None:
    if not can_ask():
        raise click.UsageError("nobody is there to be asked: give --yes to do it, or --dry-run to see what it would do")


def can_ask() -> bool:
    """Whether a person is at the other end of stdin."""
    return sys.stdin.isatty()


def _show(verb: VerbName, matched: int, sample: Any) -> None:
    some = f", the first {len(sample)} of them" if matched > len(sample) else ""
    say(f"{plural(matched, 'run')} to {verb}{some}:\n")
    print_runs(Screen(err=True), sample)
    say("")


def _confirm(verb: VerbName, matched: int) -> None:
    if not click.confirm(f"{verb.capitalize()} {'it' if matched == 1 else f'all {matched:,}'}?", err=True):
        raise Refused("nothing was done")


def _exit_code(result: BulkResult, by_ids: bool) -> int:
    if result.stopped:
        return INTERRUPTED
    if not by_ids or result.done or not result.skipped:
        return 0
    return NOT_FOUND if result.skipped.keys() == {"job_not_found"} else REFUSED
