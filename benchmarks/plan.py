"""How much is measured: what `--quick` and `--full` mean in counts and seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FEW_ROWS", "FULL", "QUICK", "Plan"]

FEW_ROWS = 10_000
"""Rows of history in the database of every measure that is not about them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of one run. `rows`: history under the contender; `many_rows`: what it is compared with.

    `rounds`: of what is over in seconds; `long_rounds`: of the sweep, the snapshot, the memory and the idle minutes.
    """

    name: str
    rounds: int
    long_rounds: int
    many_rows: int
    rows: int = FEW_ROWS
    all_peers: bool = True
    """Whether every peer takes part where single enqueues and batches are measured, as it does in the backlog."""
    left_out: tuple[str, ...] = ()
    """Measures that are made only where they are asked for."""
    drained: int
    """Jobs of a backlog."""
    patience: float
    """Seconds after which a slow contender has been seen for long enough."""
    beside: int
    """Jobs of a backlog that is drained while producers run."""
    sent: int
    """Single enqueues."""
    bulk: int
    """Jobs enqueued in batches."""
    promoted: int
    """Due jobs to be sent."""
    waits: int
    """Timed tasks on an idle worker."""
    replayed: int
    """Dead letters."""
    swept: int
    """Old rows."""
    pinned: float
    """Seconds that a snapshot stays open."""
    pages: int
    """Times that each page is read."""
    delayed: int
    """Jobs that wait for their time, for the memory that they take."""
    etas: int
    """The same with bare Celery, whose worker holds them."""
    idle: float
    """Seconds of doing nothing."""
    imports: int
    """New interpreters that import it."""
    churned: int
    """Jobs that pass through the tables before their sizes are looked at."""

    def resized(self, sizes: Iterable[str]) -> Plan:
        """The same with other sizes, each as NAME=NUMBER; raises ValueError for what is none."""
        changes: dict[str, Any] = {}
        for size in sizes:
            name, _, number = size.partition("=")
            kind = type(getattr(self, name, None))
            if kind not in (int, float):
                raise ValueError(f"a size of the plan as NAME=NUMBER is expected, not {size!r}")
            changes[name] = kind(number)
        return replace(self, **changes)


QUICK = Plan(
    name="quick",
    rounds=1,
    long_rounds=1,
    many_rows=100_000,
    all_peers=False,
    # They need minutes to mean something, or much history.
    left_out=("idle", "memory", "snapshot", "growth", "churn"),
    drained=1_000,
    patience=3,
    beside=1_500,
    sent=500,
    bulk=4_000,
    promoted=3_000,
    waits=100,
    replayed=2_000,
    swept=40_000,
    pinned=8,
    pages=5,
    delayed=20_000,
    etas=5_000,
    idle=60,
    imports=5,
    churned=1_000,
)

FULL = Plan(
    name="full",
    rounds=5,
    long_rounds=3,
    many_rows=10_000_000,
    drained=10_000,
    patience=30,
    beside=10_000,
    sent=5_000,
    bulk=50_000,
    promoted=50_000,
    waits=1_000,
    replayed=100_000,
    swept=1_000_000,
    pinned=600,
    pages=20,
    delayed=1_000_000,
    etas=100_000,
    idle=300,
    imports=20,
    churned=1_000_000,
)
