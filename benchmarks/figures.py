"""The arithmetic: medians, spreads, and ratios of what was measured in the same round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Spread", "paired", "percentile", "spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, the least and the most of them."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of what was measured; None where nothing was."""
    if not values:
        return None
    return Spread(median(values), min(values), max(values), len(values))


def paired(
    ours: Sequence[float | None], other: Sequence[float | None], compare: Callable[[float, float], float]
) -> list[float]:
    """Each round's two values compared; a round where one of them is missing is left out."""
    rounds = zip(ours, other, strict=False)
    return [compare(mine, its) for mine, its in rounds if mine is not None and its is not None]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed; raises ValueError where there are none."""
    if not values:
        raise ValueError("a percentile of nothing")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
