"""What a generated history is made of: how often each kind of chain occurs, and when."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEAD", "DELAYED", "EVERYDAY", "OLD", "Kind", "Mix"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A chain: the statuses of its attempts in order, and its verdict, None while it goes on.

    `reason`: why its attempts failed or were cancelled; `replayed`: a chain that works follows it.
    """

    statuses: tuple[str, ...]
    verdict: str | None
    reason: str = "exception"
    retries_enabled: bool = True
    replayed: bool = False


DONE = Kind(("completed",), "success")
RECOVERED = Kind(("failed", "completed"), "success")
LATE = Kind(("failed", "failed", "completed"), "success")
LETTER = Kind(("failed",) * 4, "dead_lettered")
REPLAYED = Kind(("failed",) * 4, "dead_lettered", replayed=True)
HOPELESS = Kind(("failed",), "dead_lettered", "no_retry")
REFUSED = Kind(("failed",), "failed_no_retries", retries_enabled=False)
CANCELLED = Kind(("cancelled",), "cancelled", "")
EXPIRED = Kind(("cancelled",), "cancelled", "expired")
WAITING = Kind(("pending",), None)
RETRYING = Kind(("failed", "pending"), None)


@dataclass(frozen=True, slots=True)
class Mix:
    """Kinds with their weights. Chains begin between `oldest` and `newest` days ago.

    What waits is due between `due` seconds from now. `queue`: of all of them; None: of several.
    """

    name: str
    kinds: tuple[tuple[Kind, float], ...]
    oldest: float = 13
    newest: float = 0.2
    due: tuple[float, float] = (86_400, 30 * 86_400)
    queue: str | None = None


EVERYDAY = Mix(
    "everyday",
    (
        (DONE, 88),
        (RECOVERED, 4),
        (LATE, 1),
        (LETTER, 1),
        (REPLAYED, 0.2),
        (HOPELESS, 0.5),
        (REFUSED, 3),
        (CANCELLED, 1),
        (EXPIRED, 0.5),
        (WAITING, 0.5),
        (RETRYING, 0.3),
    ),
)
"""Younger than any retention, and due long after the run: no service takes anything of it away meanwhile."""

OLD = Mix("old", EVERYDAY.kinds[:9], oldest=70, newest=40)
"""All ended, older than the 30 days of history and the 14 of dead letters: the sweepers delete every row."""

DEAD = Mix("dead", ((HOPELESS, 1),), oldest=0.03, newest=0.001, queue="returns")
"""A dead letter each row, less than an hour old, in a queue of their own."""

DELAYED = Mix("delayed", ((WAITING, 1),), oldest=0.5, newest=0.01, due=(30, 7_200))
"""All wait for a time within the next two hours, the first of them so near that the promoter sends them ahead."""
