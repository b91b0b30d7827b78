"""The gate's own judgement: what it must find, and what it must not take for a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.celery_suites.deselected import DESELECTED, RACES, parse
from tests.celery_suites.judging import Verdict, judge, merged, suspects
from tests.celery_suites.report import SuiteReport, table
from tests.celery_suites.running import Ran
from tests.celery_suites.suites import SUITES, Suite

if TYPE_CHECKING:
    from tests.celery_suites.judging import Outcome

T = "t/unit/app/test_app.py::test_it"


def judged(bare: Outcome, ours: Outcome, again: tuple[Outcome, Outcome] | None = None, listed: bool = False) -> Verdict:
    second = None if again is None else ({T: again[0]}, {T: again[1]})
    return judge(({T: bare}, {T: ours}), second, [T] if listed else [])


@pytest.mark.parametrize("ours", ["failed", "skipped", "missing"])
def test_what_passes_on_bare_celery_alone_is_a_defect(ours: Outcome) -> None:
    assert judged("passed", ours).defects == [T]
    assert judged("passed", ours, ("passed", "failed")).defects == [T]
    assert judge(({T: "passed"}, {}), None, []).defects == [T]


def test_what_differs_once_is_no_defect_and_is_said() -> None:
    verdict = judged("passed", "failed", ("passed", "passed"))
    assert (verdict.defects, verdict.wavering, verdict.celerys) == ([], [T], [])


@pytest.mark.parametrize("ours", ["passed", "failed"])
def test_what_fails_on_bare_celery_when_run_again_is_said_to_be_its_own_and_not_to_waver(ours: Outcome) -> None:
    verdict = judged("passed", "failed", ("failed", ours))
    assert (verdict.defects, verdict.wavering, verdict.celerys) == ([], [], [T])


@pytest.mark.parametrize("ours", ["passed", "failed", "skipped"])
def test_what_fails_on_bare_celery_too_is_celerys_own(ours: Outcome) -> None:
    verdict = judged("failed", ours)
    assert (verdict.defects, verdict.celerys) == ([], [T])


@pytest.mark.parametrize("same", ["passed", "skipped"])
def test_what_ends_alike_is_nothing(same: Outcome) -> None:
    assert judged(same, same) == Verdict([], [], [], [], [])


def test_a_deselected_test_may_fail_and_may_not_pass() -> None:
    assert judged("passed", "failed", listed=True) == Verdict([], [], [], [], [])
    assert judged("passed", "passed", listed=True).superfluous == [T]
    assert judged("passed", "passed", ("passed", "failed"), listed=True).wavering == [T]


@pytest.mark.parametrize("ours", ["passed", "failed"])
def test_a_race_may_end_either_way(ours: Outcome) -> None:
    assert judge(({T: "passed"}, {T: ours}), None, [T], [T]) == Verdict([], [], [], [], [])
    assert DESELECTED.keys() > RACES


def test_a_deselected_test_that_celery_does_not_have_is_named() -> None:
    assert judge(({}, {}), None, [T]).unknown == [T]


def test_only_what_is_not_as_it_should_be_is_run_again() -> None:
    bare: dict[str, Outcome] = {"same": "passed", "worse": "passed", "listed": "passed", "healed": "passed"}
    ours: dict[str, Outcome] = {"same": "passed", "worse": "failed", "listed": "failed", "healed": "passed"}
    assert suspects(bare, ours, ["listed", "healed"]) == {"worse", "healed"}


def test_a_failure_counts_whatever_a_test_says_afterwards() -> None:
    noted: list[tuple[str, Outcome]] = [(T, "missing"), (T, "failed"), (T, "passed"), ("other", "missing")]
    assert merged(noted) == {T: "failed", "other": "missing"}


def report(bare: Ran, ours: Ran, suite: str = "integration/beat") -> SuiteReport:
    verdict = judge((bare.outcomes, ours.outcomes), None, [])
    return SuiteReport(Suite(suite), bare, ours, 0, verdict, ours.texts)


def test_a_defect_is_reported_with_what_pytest_says_of_it() -> None:
    (fault,) = report(Ran({T: "passed"}, {}, 1), Ran({T: "failed"}, {T: "E  assert 1 == 2"}, 1, rows=5)).faults
    assert fault.startswith(f"integration/beat: passes on bare Celery and not with jobs: {T}")
    assert "assert 1 == 2" in fault


def test_a_run_that_proves_nothing_is_a_fault() -> None:
    good = Ran({T: "passed"}, {}, 1, rows=5)
    assert report(good, good).faults == []
    assert "not one test passed" in report(Ran({T: "skipped"}, {}, 1), good).faults[0]
    assert "not one row" in report(good, Ran({T: "passed"}, {}, 1)).faults[0]
    assert report(good, Ran({T: "passed"}, {}, 1), "unit/worker").faults == []
    assert "ended with 3" in report(good, Ran({T: "passed"}, {}, 1, rows=5, faults=["ended with 3"])).faults[0]


def test_the_table_has_a_line_for_each_suite() -> None:
    good = Ran({T: "passed", "other": "missing"}, {}, 61, rows=5)
    (_, line) = table([report(good, good)]).splitlines()
    assert line.split() == ["integration/beat", *"110110", "0", "5", "61", "+", "61"]


def test_each_deselected_test_belongs_to_a_suite() -> None:
    assert DESELECTED
    for test in DESELECTED:
        assert [suite.name for suite in SUITES if suite.has(test)], test


def test_the_reason_of_a_deselected_test_stands_above_it() -> None:
    assert parse("# What this is.\n\n# Because\n# of that.\na::b\na::c\n") == dict.fromkeys(
        ("a::b", "a::c"), "Because of that."
    )


@pytest.mark.parametrize("text", ["a::b\n", "# Why.\n\na::b\n", "# Why.\na::b\n\n# Why.\na::b\n"])
def test_no_test_is_deselected_twice_or_without_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match="a::b"):
        parse(text)
