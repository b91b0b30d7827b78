"""The other measures once more, over little and over much history, round by round beside each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks import backlog, delay, latency, many, producers, promoter, replay
from benchmarks.contenders import OURS
from benchmarks.goals import FEW, MANY
from benchmarks.measure import Figures, Measure
from benchmarks.plan import FEW_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

MEASURES: dict[str, Measure] = {
    module.MEASURE.name: module.MEASURE for module in (backlog, producers, delay, many, promoter, latency, replay)
}


def contenders(plan: Plan) -> Sequence[str]:
    """Each measure over few and over many rows."""
    return [f"{name}, {rows}" for name in MEASURES for rows in (FEW, MANY)]


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Ours in one of them."""
    name, _, rows = contender.rpartition(", ")
    of_size = replace(plan, rows=plan.many_rows if rows == MANY else FEW_ROWS)
    return MEASURES[name].run(stage, OURS, of_size)


MEASURE = Measure("growth", "the same over little and over much history", contenders, run)
