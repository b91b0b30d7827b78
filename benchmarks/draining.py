"""How fast workers drain a filled queue: what several measures do, each under its own circumstances."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks import tally
from benchmarks.entrant import Failed, await_until
from benchmarks.stage import query

if TYPE_CHECKING:
    from benchmarks.entrant import Entrant

__all__ = ["WARM_UP", "drain", "fill", "moment", "rate_between", "require_recorded"]

WARM_UP = 0.1
"""The part of a backlog that does not count: children start, caches and connections are made."""

RECORDED_SECONDS = 10.0


def fill(entrant: Entrant, count: int) -> None:
    """Put so many no-ops into the queue, in whatever way is fastest."""
    entrant.program("send-many", count)


def drain(entrant: Entrant, count: int, patience: float) -> float:
    """Tasks a second from when a tenth of so many has run until all have, or `patience` s have passed.

    By the tasks' own word of when they ran, so that a busy machine delays no reading. Raises Failed.
    """
    warm = max(1, int(count * WARM_UP))
    entrant.require_runs(warm)
    entrant.await_runs(count, patience)
    times = tally.times(entrant.folder)[warm:count]
    if len(times) < 2:
        raise Failed(f"{entrant.peer.name}: {entrant.runs:,} jobs have run within {patience:g} s: too few to time")
    return (len(times) - 1) / (times[-1] - times[0])


def rate_between(entrant: Entrant, begin: float, end: float) -> float:
    """Tasks a second between two moments (time.monotonic); raises Failed where none ran."""
    times = tally.times(entrant.folder)
    ran = bisect_left(times, end) - bisect_left(times, begin)
    if not ran:
        raise Failed(f"{entrant.peer.name}: nothing ran in {end - begin:.1f} s")
    return ran / (end - begin)


def require_recorded(entrant: Entrant, since: datetime, count: int) -> None:
    """Raise Failed where the contender's tables do not say that all is done."""
    statement = entrant.peer.recorded
    if statement is None or entrant.runs < count:
        return

    def recorded() -> int:
        return int(str(query(entrant.database, statement, {"since": since})[0][0]))

    if not await_until(lambda: recorded() >= count, RECORDED_SECONDS):
        raise Failed(f"{entrant.peer.name}: {count:,} jobs have run, {recorded():,} are recorded")


def moment() -> datetime:
    """Since when jobs are counted."""
    return datetime.now(UTC)
