"""What a run says in the end: JSON for programs, tables for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from benchmarks.figures import spread
from benchmarks.goals import GOALS, judge
from benchmarks.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from benchmarks.figures import Spread
    from benchmarks.goals import Goal, Outcome
    from benchmarks.measure import Readings
    from benchmarks.plan import Plan

__all__ = ["as_json", "run_as_json", "summary", "tables"]

COLOURS = {"aim": "green", "met": "green", "missed": "red", "not measured": "dim"}


def run_as_json(plan: Plan, facts: dict[str, Any], readings: Readings) -> dict[str, Any]:
    """What a run was: its sizes, where it took place, and the measures that were made in it."""
    return {"plan": asdict(plan), "machine": facts, "measures": list(readings.rounds)}


def summary(run: dict[str, Any]) -> str:
    """The same in a line."""
    machine = run["machine"]
    loads = f"load average before {machine['load_before']}, after {machine['load_after']}"
    return f"{run['plan']['name']}: {', '.join(run['measures'])}; {machine['seconds']} s; {loads}"


def as_json(runs: Sequence[dict[str, Any]], readings: Readings) -> dict[str, Any]:
    """Everything that was read in some runs, and what became of the goals."""
    return {
        "runs": list(runs),
        "readings": readings.rounds,
        "failures": readings.failures,
        "goals": [_outcome_as_json(judge(goal, readings)) for goal in GOALS],
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    goal = outcome.goal
    told = {name: getattr(goal, name) for name in ("what", "measure", "ours", "other", "must", "aim", "unit", "less")}
    spreads = {name: _spread_as_json(getattr(outcome, name)) for name in ("ours", "other", "judged")}
    return {**told, "figures": spreads, "verdict": outcome.verdict}


def _spread_as_json(found: Spread | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


def tables(readings: Readings) -> Iterator[RenderableType]:
    """The goals, then each measure's contenders, then who could not run, and why."""
    yield _goals(readings)
    for name in readings.rounds:
        yield _contenders(name, readings)
    for measure, failures in readings.failures.items():
        for contender, reason in failures.items():
            yield Text(f"{measure}: {contender} could not run: {reason}", style="red")


def _goals(readings: Readings) -> Table:
    table = Table(title="The numbers to reach", title_justify="left")
    table.add_column("measure", overflow="fold")
    for heading in ("celery-jobs", "the other", "ratio", "must", "aim", ""):
        table.add_column(heading, justify="right")
    measured = (judge(goal, readings) for goal in GOALS if goal.measure in readings.rounds)
    for outcome in measured:
        goal = outcome.goal
        table.add_row(
            goal.what,
            _said(outcome.ours),
            _said(outcome.other),
            f"{_said(outcome.judged, spread=True)} {goal.unit if outcome.judged else ''}",
            _bar(goal, goal.must),
            _bar(goal, goal.aim),
            Text(outcome.verdict, style=COLOURS[outcome.verdict]),
        )
    return table


def _bar(goal: Goal, value: float) -> str:
    return f"{'≤' if goal.less else '≥'} {value:g}"


def _contenders(name: str, readings: Readings) -> Table:
    measure = MEASURES[name]
    table = Table(title=f"{name}: {measure.about}", title_justify="left")
    for heading in ("contender", "figure", "median", "least", "most", "rounds"):
        table.add_column(heading, justify="left" if heading in ("contender", "figure") else "right")
    for contender, rounds in readings.rounds[name].items():
        for figure in dict.fromkeys(key for figures in rounds if figures is not None for key in figures):
            found = spread([value for value in readings.of(name, contender, figure) if value is not None])
            if found is not None:
                numbers = (_number(value) for value in (found.median, found.low, found.high))
                table.add_row(contender, figure.replace("_", " "), *numbers, str(found.rounds))
    return table


def _said(found: Spread | None, spread: bool = False) -> str:
    if found is None:
        return "–"
    if not spread or found.rounds == 1:
        return _number(found.median)
    return f"{_number(found.median)} ({_number(found.low)} … {_number(found.high)})"


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
