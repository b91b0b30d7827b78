"""The pictures of a run, for docs/performance.md: what was reached, who is how fast, and what history costs."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.contenders import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["draw"]

OWN, OTHER, MISSED, LINE, FAINT = "#2f7d4f", "#9aa5b1", "#c0504d", "#333333", "#d8dde2"
WIDTH, ROW, HEAD = 9.0, 0.34, 1.1
"""Inches: of a picture, of each of its bars, and of what is above and below them."""
MOST_SHOWN = 3.0
"""Times the bar: what is better by more than that would leave no room for the others."""

GROWN = "with much history: "

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": FAINT,
    "xtick.color": LINE,
    "ytick.left": False,
}


def draw(said: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what was measured into PNGs of the folder, made if need be; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "goals": _goals([goal for goal in said["goals"] if goal["measure"] != "growth"], "What was to be reached"),
        "growth": _goals(
            [goal for goal in said["goals"] if goal["measure"] == "growth"], "With much history, against little"
        ),
        "backlog": _rates(said, "backlog", "Tasks a second, draining a filled queue with two children"),
        "delay": _rates(said, "delay", "Single enqueues a second, one process"),
        "many": _rates(said, "many", "Jobs a second, enqueued in batches (bare Celery: a loop)"),
    }
    files = []
    for name, picture in pictures.items():
        if picture is not None:
            files.append(folder / f"{name}.png")
            picture.savefig(files[-1], dpi=150, bbox_inches="tight")
    return files


def _goals(goals: Sequence[dict[str, Any]], title: str) -> Figure | None:
    """How many times its bar each goal reaches: 1 is the bar, a tick the aim."""
    measured = [goal for goal in goals if goal["figures"]["judged"] is not None]
    if not measured:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _empty(len(measured), title)
        for place, goal in enumerate(measured):
            times = min(_times(goal, _median(goal)), MOST_SHOWN)
            colour = MISSED if goal["verdict"] == "missed" else OWN
            axes.barh(place, times, color=colour, height=0.62)
            axes.plot([_times(goal, goal["aim"])] * 2, [place - 0.42, place + 0.42], color=LINE, linewidth=1.5)
            said = f"{_number(_median(goal))} {goal['unit']}"
            bar = f"{'≤' if goal['less'] else '≥'} {goal['must']:,g}"
            axes.text(1.17, place, said, va="center", ha="right", transform=axes.get_yaxis_transform())
            axes.text(1.19, place, bar, va="center", color=OTHER, transform=axes.get_yaxis_transform())
        axes.axvline(1, color=LINE, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(measured)), [goal["what"].removeprefix(GROWN) for goal in measured])
        axes.set_xlabel("times the bar, which is dotted; a tick is the aim")
    return figure


def _times(goal: dict[str, Any], value: float) -> float:
    """How many times the bar a value is: above 1 is better, also where less is."""
    if not goal["less"]:
        return float(value / goal["must"])
    return float(goal["must"] / value) if value > 0 else MOST_SHOWN


def _median(goal: dict[str, Any]) -> float:
    return float(goal["figures"]["judged"]["median"])


def _rates(said: dict[str, Any], measure: str, title: str) -> Figure | None:
    """Every contender's median, the spread of its rounds as a line."""
    rates = {}
    for contender, rounds in said["readings"].get(measure, {}).items():
        values = [figures["per_second"] for figures in rounds if figures is not None]
        if values:
            rates[contender] = values
    if not rates:
        return None
    ordered = sorted(rates, key=lambda name: median(rates[name]), reverse=True)
    with mpl.rc_context(STYLE):
        figure, axes = _empty(len(ordered), title)
        for place, name in enumerate(ordered):
            values, middle = rates[name], median(rates[name])
            axes.barh(place, middle, color=OWN if name == OURS else OTHER, height=0.62)
            axes.plot([min(values), max(values)], [place, place], color=LINE, linewidth=1)
            axes.text(max(values), place, f" {_number(middle)}", va="center")
        axes.set_yticks(range(len(ordered)), ordered)
    return figure


def _empty(rows: int, title: str) -> tuple[Figure, Any]:
    """A picture of so many bars, the first on top."""
    figure = Figure(figsize=(WIDTH, HEAD + ROW * rows), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    axes.set_ylim(rows - 0.4, -0.6)
    axes.xaxis.grid(True, color=FAINT)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_axisbelow(True)
    return figure, axes


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
