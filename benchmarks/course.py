"""One run: every measure in turn, its contenders interleaved over the rounds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.contenders import PEERS
from benchmarks.measure import Measure, Readings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["run"]


def run(stage: Stage, measures: Iterable[Measure], plan: Plan) -> Readings:
    """Measure; what cannot be is noted with its reason, and the others go on."""
    readings = Readings()
    for measure in measures:
        contenders = measure.contenders(plan)
        for number in range(plan.long_rounds if measure.long else plan.rounds):
            for contender in in_turn(contenders, number):
                _once(stage, measure, contender, plan, readings)
    return readings


def in_turn(contenders: Sequence[str], number: int) -> list[str]:
    """Every other round the other way round: what the machine does over time falls on all alike."""
    return list(contenders) if number % 2 == 0 else list(reversed(contenders))


def _once(stage: Stage, measure: Measure, contender: str, plan: Plan, readings: Readings) -> None:
    failed = readings.failures.get(measure.name, {})
    if contender in failed and contender in PEERS and PEERS[contender].packages:
        return  # it will not be there in the next round either
    started = time.monotonic()
    try:
        figures = measure.run(stage, contender, plan)
    except Exception as error:
        readings.fail(measure.name, contender, f"{type(error).__name__}: {error}")
        stage.say(f"{measure.name}: {contender} could not run: {error}")
        return
    readings.add(measure.name, contender, figures)
    said = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
    stage.say(f"{measure.name}: {contender}: {said} ({time.monotonic() - started:.1f} s)")
