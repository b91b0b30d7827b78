"""Bare Celery against Celery with jobs, test by test: what is a defect, what is Celery's own, what leaves the list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Outcome", "Verdict", "judge", "merged", "suspects"]

Outcome = Literal["passed", "failed", "skipped", "missing"]
"""Missing: it was to run, and its process ended first."""

Outcomes: TypeAlias = "Mapping[str, Outcome]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two runs of a suite say, by names of tests."""

    defects: list[str]
    """Pass on bare Celery, twice if need be, and not with jobs; not deselected."""
    superfluous: list[str]
    """Deselected, and pass with jobs."""
    unknown: list[str]
    """Deselected, and no tests of this Celery's."""
    wavering: list[str]
    """Differed at first, and were as they should be when run again, alone."""
    celerys: list[str]
    """Fail on bare Celery too, at first or when run again."""


def merged(notes: Iterable[tuple[str, Outcome]]) -> dict[str, Outcome]:
    """What became of each test: one failure, of the test or a subtest, is a failure; else its last note counts."""
    outcomes: dict[str, Outcome] = {}
    for test, outcome in notes:
        if outcomes.get(test) != "failed":
            outcomes[test] = outcome
    return outcomes


def suspects(bare: Outcomes, ours: Outcomes, deselected: Collection[str], races: Collection[str] = ()) -> set[str]:
    """Tests whose outcome is not as it should be, to be run once more before they are judged.

    `races`: those deselected that may pass.
    """
    return set(_worse(bare, ours, deselected)) | (set(_superfluous(ours, deselected)) - set(races))


def judge(
    first: tuple[Outcomes, Outcomes],
    again: tuple[Outcomes, Outcomes] | None,
    deselected: Collection[str],
    races: Collection[str] = (),
) -> Verdict:
    """Judge two pairs of bare outcomes and ours: of all tests, and of those suspects that were run again."""
    bare, ours = first
    doubted = suspects(bare, ours, deselected, races)
    sure = doubted if again is None else doubted & suspects(*again, deselected, races)
    failed = set(_failed(bare)) | (set() if again is None else doubted & set(_failed(again[0])))
    return Verdict(
        defects=sorted(sure - set(deselected)),
        superfluous=sorted(sure & set(deselected)),
        unknown=sorted(set(deselected) - bare.keys()),
        wavering=sorted(doubted - sure - failed),
        celerys=sorted(failed),
    )


def _failed(bare: Outcomes) -> Iterable[str]:
    return (test for test, outcome in bare.items() if outcome in ("failed", "missing"))


def _worse(bare: Outcomes, ours: Outcomes, deselected: Collection[str]) -> Iterable[str]:
    passed = (test for test, outcome in bare.items() if outcome == "passed" and test not in deselected)
    return (test for test in passed if ours.get(test) != "passed")


def _superfluous(ours: Outcomes, deselected: Collection[str]) -> Iterable[str]:
    return (test for test in deselected if ours.get(test) == "passed")
