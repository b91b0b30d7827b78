"""What a run is to be: how many jobs, how long, which faults, which build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.chaos import terms

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BROKEN_PLANS", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `faults` and `kinds` empty: all of them; `drain`: seconds that the end is waited for at most."""

    jobs: int = 150
    seconds: float = 25
    seed: int = 1
    faults: tuple[str, ...] = ()
    kinds: Mapping[str, float] = field(default_factory=dict)
    pause: tuple[float, float] = (0.3, 1.5)
    broken: str | None = None
    bare: Literal["early", "late"] | None = None
    drain: float = terms.DRAIN_SECONDS


def _broken(
    build: str, faults: tuple[str, ...], kinds: Mapping[str, float], jobs: int = 60, seconds: float = 15
) -> Plan:
    return Plan(jobs, seconds, 1, faults, kinds, pause=(0.2, 0.6), broken=build, drain=12)


BROKEN_PLANS: dict[str, tuple[Plan, set[str]]] = {
    plan.broken or "": (plan, rules)
    for plan, rules in (
        (_broken("fencing-off", ("stop a worker",), {"long": 1}, 40, 30), {"C3"}),
        (_broken("claim-unconditional", ("duplicate messages",), {"long": 1}, 40, 8), {"C6", "C7", "C24"}),
        (_broken("send-before-commit", ("kill the database",), {"ok": 1}, 150, 10), {"C1"}),
        (_broken("reaper-off", ("kill a worker",), {"long": 1}, 40, 8), {"C8"}),
        (_broken("redispatcher-off", ("empty the broker",), {"long": 1}, 60, 8), {"C1", "C4"}),
        (_broken("retry-apart", ("kill a worker", "kill a child"), {"flaky": 1}, 150, 15), {"C23"}),
        (_broken("outcomes-dropped", ("kill the database",), {"long": 1}, 40, 10), {"C8"}),
        (_broken("places-uncounted", ("duplicate messages",), {"long": 1}, 60, 8), {"C27"}),
    )
}
"""For each broken build a run that catches it, and rules of which one at least must."""
