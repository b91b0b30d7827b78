"""Many runs at once, by ids or by filter: bounded batches, a rate, progress, and why something was skipped.

Every batch is a transaction, guarded run by run: a bulk verb that is stopped and begun again does nothing twice.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from celery_jobs.errors import JobNotFound
from celery_jobs.ids import parse_id
from celery_jobs.store import reads
from celery_jobs.store.filters import Filter, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from celery_jobs.plugin import Plugin
    from celery_jobs.runs import Run
    from celery_jobs.verbs import Verb

__all__ = ["Bulk", "BulkOptions", "BulkResult", "Preview", "Progress", "Selection", "read_options", "select"]

MOST_IN_BATCH = 500
LONGEST_NAP = 0.2
"""Seconds between two looks whether to stop, while a rate is kept."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a bulk verb is: counts of runs."""

    matched: int
    done: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a bulk verb is about to go through: how many runs, and the first of them. `at`: when it was counted."""

    matched: int
    sample: tuple[Run, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a bulk verb did, or with `dry_run` would do.

    `matched`: runs that were meant; `skipped`: ids by the reason why; `stopped`: it was stopped before its end, and
    goes on from `cursor` when that is given as `after`.
    """

    verb: str
    matched: int
    done: int
    skipped: Mapping[str, tuple[str, ...]]
    dry_run: bool = False
    stopped: bool = False
    cursor: str | None = None

    @property
    def skipped_count(self) -> int:
        """How many runs were left alone."""
        return sum(map(len, self.skipped.values()))

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {
            "verb": self.verb,
            "matched": self.matched,
            "done": self.done,
            "skipped": {why: len(ids) for why, ids in self.skipped.items()},
            "skipped_ids": {why: list(ids) for why, ids in self.skipped.items()},
            "dry_run": self.dry_run,
            "stopped": self.stopped,
            "cursor": self.cursor,
        }


class BulkOptions(Where, total=False):
    """How a bulk verb goes about it, beside the fields of its filter.

    `dry_run`: only say what would be done; `rate`: runs a second at most; `progress(Progress)`: called after each
    batch; `stop()`: asked before each batch whether to end; `after`: the `cursor` of a result that was stopped.
    """

    dry_run: bool
    rate: float | None
    progress: Callable[[Progress], object] | None
    stop: Callable[[], bool]
    after: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a bulk verb is for: how many, and their ids in batches, each with where the next one begins."""

    matched: int
    batches: Callable[[str | None, int], Iterator[tuple[list[str], str]]]


def select(
    plugin: Plugin, ids: Iterable[str] | None, where: Where, meant: Where, after: str | None = None
) -> Selection:
    """The runs of `ids`, or of the filter `where` with what `meant` adds where it says nothing of states.

    `after`: those behind this cursor are counted alone.
    Raises ValueError where neither is given, or both.
    """
    if isinstance(ids, str):
        raise ValueError(f"ids: a list of ids is expected, not {ids!r}")
    which = Filter(**where)
    if (ids is None) == which.is_empty:
        raise ValueError("give either ids or at least one field of a filter, such as queue= or status=")
    if ids is not None:
        return by_ids(plugin, ids, after)
    stateless = which.status is None and which.final_status is None
    return by_filter(plugin, Filter(**(meant | _asked(where))) if stateless else which, after)


def _asked(where: Where) -> Where:
    asked: Any = {name: value for name, value in where.items() if value is not None}
    return cast("Where", asked)


def by_filter(plugin: Plugin, which: Filter, counted_after: str | None = None) -> Selection:
    """The runs that a filter means now, oldest first; those that begin later are not among them."""
    matched, newest = reads.count(plugin.db, which, _cursor(counted_after))

    def batches(after: str | None, size: int) -> Iterator[tuple[list[str], str]]:
        reached, found = _cursor(after), list[str]()
        while newest is not None:
            ids, following = reads.originals(plugin.db, which, size - len(found), reached, newest)
            found += ids
            if found and (len(found) == size or following is None):
                yield found, found[-1]
                found = []
            if following is None:
                return
            reached = following

    return Selection(matched, batches)


def by_ids(plugin: Plugin, given: Iterable[str], counted_after: str | None = None) -> Selection:
    """The runs of these ids (a job's or a Celery task id), in their order, each once."""
    # A cursor is an id as it was given: what it meant may be deleted when it comes back.
    cursors: dict[str, str] = {}
    for id in given:
        cursors.setdefault(reads.find_original(plugin.db, id) or id, id)
    runs, places = list(cursors), {id: place for place, id in enumerate(cursors.values(), 1)}

    def behind(after: str | None) -> int:
        if after is not None and after not in places:
            raise _wrong_cursor(after)
        return 0 if after is None else places[after]

    def batches(after: str | None, size: int) -> Iterator[tuple[list[str], str]]:
        for first in range(behind(after), len(runs), size):
            batch = runs[first : first + size]
            yield batch, cursors[batch[-1]]

    return Selection(len(runs) - behind(counted_after), batches)


def _cursor(after: str | None) -> str | None:
    if after is None:
        return None
    cursor = parse_id(after)
    if cursor is None:
        raise _wrong_cursor(after)
    return cursor


def _wrong_cursor(after: str) -> ValueError:
    return ValueError(f"after: the cursor of a result that was stopped is expected, not {after!r}")


def read_options(verb: Verb, options: BulkOptions) -> tuple[Bulk, Where, str | None]:
    """The work, its filter and where it begins."""
    how: dict[str, Any] = {name: value for name, value in options.items() if name in _HOW}
    where: Any = {name: value for name, value in options.items() if name not in _HOW}
    after = how.pop("after", None)
    return Bulk(verb, **how), where, after


_HOW = BulkOptions.__annotations__.keys() - Where.__annotations__.keys()


@dataclass(slots=True)
class Bulk:
    """One bulk verb at work. `rate`: runs a second; `stop()`: whether to end after this batch."""

    verb: Verb
    dry_run: bool = False
    rate: float | None = None
    progress: Callable[[Progress], object] | None = None
    stop: Callable[[], bool] = lambda: False
    done: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ValueError(f"rate: a number of runs a second above 0 is expected, not {self.rate!r}")

    def run(self, selection: Selection, after: str | None = None) -> BulkResult:
        """Go through a selection, from behind the cursor `after`."""
        started = time.monotonic()
        reached, stopped = after, False
        for ids, cursor in selection.batches(after, self._batch_size):
            self._keep_rate(started)
            if stopped := self.stop():
                break
            self._batch(ids)
            reached = cursor
            self._report(selection.matched)
        skipped = {why: tuple(ids) for why, ids in self.skipped.items()}
        cursor_left = reached if stopped else None
        return BulkResult(self.verb.name, selection.matched, self.done, skipped, self.dry_run, stopped, cursor_left)

    @property
    def _batch_size(self) -> int:
        """With a rate, a batch is half a second's."""
        return MOST_IN_BATCH if self.rate is None else max(1, min(MOST_IN_BATCH, int(self.rate / 2)))

    def _batch(self, ids: list[str]) -> None:
        chains = reads.runs_of(self.verb.db, [id for id in ids if parse_id(id) is not None])
        refused = self.verb(chains, self.dry_run)
        found = {chain[0].id for chain in chains}
        self.done += len(found - refused.keys())
        for id in ids:
            if id not in found:
                self.skipped.setdefault(_reason(JobNotFound(id)), []).append(id)
            elif id in refused:
                self.skipped.setdefault(_reason(refused[id]), []).append(id)

    def _report(self, matched: int) -> None:
        if self.progress is not None:
            self.progress(Progress(matched, self.done, sum(map(len, self.skipped.values()))))

    def _keep_rate(self, started: float) -> None:
        """Wait until what has been done is no more than the rate allows; what was skipped costs nothing."""
        while self.rate is not None and not self.dry_run and not self.stop():
            ahead = self.done / self.rate - (time.monotonic() - started)
            if ahead <= 0:
                return
            time.sleep(min(ahead, LONGEST_NAP))


def _reason(error: Exception) -> str:
    """The error's name as a word of a report: `AlreadyReplayed` is `already_replayed`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
