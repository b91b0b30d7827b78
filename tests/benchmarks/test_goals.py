from __future__ import annotations

import pytest

from benchmarks.contenders import BARE, OURS
from benchmarks.goals import GOALS, Goal, added, judge, kept, lost
from benchmarks.measure import Readings
from benchmarks.measures import MEASURES
from benchmarks.plan import FULL, QUICK, Plan

AGAINST_BARE = Goal("draining", "backlog", 0.75, 0.85)
LATENCY = Goal("latency", "latency", 3, 2, "median_ms", compare=added, unit="ms", less=True)


def _read(measure: str, figure: str, **contenders: list[float | None]) -> Readings:
    readings = Readings()
    for name, rounds in contenders.items():
        for value in rounds:
            readings.add(measure, {"ours": OURS, "bare": BARE}[name], None if value is None else {figure: value})
    return readings


@pytest.mark.parametrize(("ours", "verdict"), [(850, "aim"), (849, "met"), (750, "met"), (749, "missed")])
def test_more_is_better_up_to_the_bar_itself(ours: float, verdict: str) -> None:
    outcome = judge(AGAINST_BARE, _read("backlog", "per_second", ours=[ours], bare=[1000]))
    assert outcome.verdict == verdict


@pytest.mark.parametrize(("ours", "verdict"), [(7, "aim"), (7.5, "met"), (8, "met"), (8.1, "missed")])
def test_less_is_better_where_the_goal_says_so(ours: float, verdict: str) -> None:
    outcome = judge(LATENCY, _read("latency", "median_ms", ours=[ours], bare=[5]))
    assert outcome.verdict == verdict


def test_what_is_judged_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians() -> None:
    readings = _read("backlog", "per_second", ours=[100, 900, 500], bare=[1000, 1000, 500])
    outcome = judge(AGAINST_BARE, readings)
    assert outcome.judged is not None
    assert (outcome.judged.low, outcome.judged.median, outcome.judged.high) == (0.1, 0.9, 1.0)


def test_a_round_that_one_could_not_run_does_not_count() -> None:
    outcome = judge(AGAINST_BARE, _read("backlog", "per_second", ours=[None, 900], bare=[1000, 1000]))
    assert outcome.judged is not None
    assert (outcome.judged.rounds, outcome.verdict) == (1, "aim")


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {judge(goal, Readings()).verdict for goal in GOALS} == {"not measured"}


def test_what_is_lost_and_what_is_kept_are_percent_of_the_other() -> None:
    assert lost(80, 100) == pytest.approx(20)
    assert kept(80, 100) == pytest.approx(80)


@pytest.mark.parametrize("plan", [QUICK, FULL], ids=lambda plan: plan.name)
def test_every_goal_is_of_contenders_that_take_part(plan: Plan) -> None:
    for goal in GOALS:
        assert {goal.ours, goal.other} <= set(MEASURES[goal.measure].contenders(plan)), goal.what


def test_the_aim_is_never_easier_than_the_bar() -> None:
    assert [goal.what for goal in GOALS if (goal.aim > goal.must if goal.less else goal.aim < goal.must)] == []
