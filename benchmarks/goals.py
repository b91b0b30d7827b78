"""The numbers to reach: what is compared with what, the bar (`must`) and the hope (`aim`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.contenders import BARE, OURS
from benchmarks.figures import Spread, paired, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Readings

__all__ = ["GOALS", "Goal", "Outcome", "Verdict", "judge"]

Verdict = Literal["aim", "met", "missed", "not measured"]


def ratio(ours: float, other: float) -> float:
    """Ours for each of theirs."""
    return ours / other


def inverse(ours: float, other: float) -> float:
    """The ratio of times, so that more is better."""
    return other / ours


def added(ours: float, other: float) -> float:
    """What ours takes more."""
    return ours - other


def lost(ours: float, other: float) -> float:
    """What is missing of the other, in percent."""
    return 100 * (1 - ours / other)


def kept(ours: float, other: float) -> float:
    """What is left of the other, in percent."""
    return 100 * ours / other


def alone(ours: float, other: float) -> float:
    """The figure itself."""
    return ours


@dataclass(frozen=True, slots=True)
class Goal:
    """One row of the table. `compare` gives the number that is judged, of each round's `figure` of both.

    `less`: less is better. `other` is the contender itself where there is nothing to compare with.
    """

    what: str
    measure: str
    must: float
    aim: float
    figure: str = "per_second"
    ours: str = OURS
    other: str = BARE
    compare: Callable[[float, float], float] = ratio
    unit: str = "×"
    less: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a goal: the two figures, the number that is judged, and the verdict."""

    goal: Goal
    ours: Spread | None
    other: Spread | None
    judged: Spread | None
    verdict: Verdict


def judge(goal: Goal, readings: Readings) -> Outcome:
    """Compare round by round, and hold the median against the bar."""
    ours = readings.of(goal.measure, goal.ours, goal.figure)
    other = readings.of(goal.measure, goal.other, goal.figure)
    judged = spread(paired(ours, other, goal.compare))
    its = None if goal.other == goal.ours else spread([value for value in other if value is not None])
    mine = spread([value for value in ours if value is not None])
    return Outcome(goal, mine, its, judged, _verdict(goal, judged))


def _verdict(goal: Goal, judged: Spread | None) -> Verdict:
    if judged is None:
        return "not measured"

    def reached(bar: float) -> bool:
        return judged.median <= bar if goal.less else judged.median >= bar

    return "aim" if reached(goal.aim) else "met" if reached(goal.must) else "missed"


EXTENDED = "Celery, SQL backend, extended"
FEW, MANY = "few", "many"
"""Rows of history under a contender of the measure `growth`: `delay, few` against `delay, many`."""

GROWING = (
    ("draining a backlog", "backlog", "per_second", ratio),
    ("with producers beside", "producers", "per_second", ratio),
    (".delay()", "delay", "per_second", ratio),
    ("enqueue_many", "many", "per_second", ratio),
    ("promoter", "promoter", "per_second", ratio),
    ("start on an idle worker, median", "latency", "median_ms", inverse),
    ("start on an idle worker, p99", "latency", "p99_ms", inverse),
    ("bulk replay", "replay", "per_second", ratio),
)


def _alone(what: str, measure: str, must: float, aim: float, figure: str, unit: str, less: bool = True) -> Goal:
    return Goal(what, measure, must, aim, figure, OURS, OURS, alone, unit, less)


GOALS = (
    Goal("draining a backlog, against bare Celery", "backlog", 0.75, 0.85),
    Goal("the same, producers beside", "producers", 0.6, 0.75),
    Goal("draining a backlog, against Celery's SQL backend, extended", "backlog", 3.5, 4.5, other=EXTENDED),
    Goal("… against procrastinate", "backlog", 2, 2.5, other="procrastinate"),
    Goal("… against pgqueuer", "backlog", 2, 2.5, other="pgqueuer"),
    Goal("… against RQ", "backlog", 2, 2.5, other="RQ"),
    Goal(
        "throughput beside 10,000 jobs that wait for one key",
        "limits",
        90,
        97,
        ours="10,000 wait for a key",
        other="nothing waits",
        compare=kept,
        unit="%",
    ),
    Goal(".delay(), against bare Celery", "delay", 0.6, 0.7),
    Goal("enqueue_many, against bare .delay()", "many", 4, 6),
    Goal("enqueue_many, against procrastinate's batch insert", "many", 0.6, 1, other="procrastinate"),
    Goal("promoter, against bare .delay()", "promoter", 4, 6),
    Goal("start on an idle worker, added, median", "latency", 3, 2, "median_ms", compare=added, unit="ms", less=True),
    Goal("start on an idle worker, added, p99", "latency", 8, 5, "p99_ms", compare=added, unit="ms", less=True),
    _alone("bulk replay of dead letters", "replay", 4000, 8000, "per_second", "/s", less=False),
    Goal(
        "throughput lost while old rows are swept",
        "sweep",
        15,
        10,
        ours="sweeping",
        other="quiet",
        compare=lost,
        unit="%",
        less=True,
    ),
    Goal(
        "throughput with a snapshot pinned open",
        "snapshot",
        80,
        95,
        ours="pinned",
        other="before",
        compare=kept,
        unit="%",
    ),
    *(
        Goal(f"with much history: {what}", "growth", 0.85, 0.95, figure, f"{name}, {MANY}", f"{name}, {FEW}", compare)
        for what, name, figure, compare in GROWING
    ),
    _alone("slowest page of the list, indexed filters", "pages", 50, 20, "list_ms", "ms"),
    _alone("slowest page of the dead letters", "pages", 50, 20, "dead_ms", "ms"),
    _alone("rows read for a page, other filters", "pages", 20_000, 20_000, "rows_read", "rows"),
    _alone("delayed jobs: memory added to a worker", "memory", 50, 20, "worker_mb", "MB"),
    _alone("delayed jobs: memory added to the promoter", "memory", 50, 20, "promoter_mb", "MB"),
    _alone("idle: SQL statements a minute, beat included", "idle", 30, 20, "statements", "/min"),
    _alone("import of celery_jobs, added to celery", "imports", 60, 30, "added_ms", "ms"),
)
"""Every row of the table, in its order."""
