"""One thing that is measured: a name, who takes part, and one run of one contender in one round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["Figures", "Measure", "Readings"]

Figures = dict[str, float]
"""What one run gave, by the name of the figure."""


@dataclass(frozen=True, slots=True)
class Measure:
    """`contenders(plan)` take part in each round, one after the other; `run` is the turn of one.

    `unit` is that of the figure `main`; `long`: a run takes minutes with the full plan.
    """

    name: str
    about: str
    contenders: Callable[[Plan], Sequence[str]]
    run: Callable[[Stage, str, Plan], Figures]
    main: str = "per_second"
    unit: str = "/s"
    long: bool = False


@dataclass(slots=True)
class Readings:
    """What was read in all rounds: of each measure and contender the rounds' figures, None where a run failed."""

    rounds: dict[str, dict[str, list[Figures | None]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    """Why a contender could not run, by measure."""

    def add(self, measure: str, contender: str, figures: Figures | None) -> None:
        """Note a run."""
        self.rounds.setdefault(measure, {}).setdefault(contender, []).append(figures)

    def fail(self, measure: str, contender: str, reason: str) -> None:
        """Note a run that came to nothing."""
        self.add(measure, contender, None)
        self.failures.setdefault(measure, {})[contender] = reason

    def of(self, measure: str, contender: str, figure: str) -> list[float | None]:
        """One figure, round by round."""
        rounds = self.rounds.get(measure, {}).get(contender, [])
        return [None if figures is None else figures.get(figure) for figures in rounds]
