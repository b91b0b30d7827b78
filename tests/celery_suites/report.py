"""What the gate says: a table of the suites, and each fault by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.celery_suites.judging import Verdict
    from tests.celery_suites.running import Ran
    from tests.celery_suites.suites import Suite

__all__ = ["SuiteReport", "table"]

MOST_EXPLAINED = 10
"""Defects of a suite whose failures are shown; more have one cause."""

HEAD = ("suite", "bare passed", "failed", "skipped", "jobs passed", "failed", "skipped", "deselected", "rows", "s")


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """A suite on both sides. `texts`: what pytest says of our side's failures."""

    suite: Suite
    bare: Ran
    ours: Ran
    deselected: int
    verdict: Verdict
    texts: dict[str, str]

    @property
    def faults(self) -> list[str]:
        """All that fails the gate, each with its words."""
        found = [*self.bare.faults, *self.ours.faults]
        if "passed" not in self.bare.outcomes.values():
            found.append("not one test passed on bare Celery")
        if self.suite.has_worker and not self.ours.rows:
            found.append("not one row was written")
        for place, test in enumerate(self.verdict.defects):
            said = self._text(test, 40) if place < MOST_EXPLAINED else ""
            found.append(f"passes on bare Celery and not with jobs: {test}{said}")
        found += [f"is deselected and passes: take {test} off the list" for test in self.verdict.superfluous]
        found += [f"is deselected and no test of this Celery's: {test}" for test in self.verdict.unknown]
        return [f"{self.suite.name}: {fault}" for fault in found]

    @property
    def remarks(self) -> list[str]:
        """What is worth knowing and fails nothing."""
        wavering = [
            f"differed, and not when it was run again: {test}{self._text(test, 6)}" for test in self.verdict.wavering
        ]
        celerys = [f"fails on bare Celery too, on this machine: {test}" for test in self.verdict.celerys]
        return [f"{self.suite.name}: {remark}" for remark in (*wavering, *celerys)]

    @property
    def row(self) -> tuple[str, ...]:
        """Its line of the table."""
        bare, ours = (Counter(ran.outcomes.values()) for ran in (self.bare, self.ours))
        counts = [str(n) for c in (bare, ours) for n in (c["passed"], c["failed"] + c["missing"], c["skipped"])]
        seconds = f"{self.bare.seconds:.0f} + {self.ours.seconds:.0f}"
        return (self.suite.name, *counts, str(self.deselected), str(self.ours.rows), seconds)

    def _text(self, test: str, lines: int) -> str:
        said = self.texts.get(test, "its outcome: " + self.ours.outcomes.get(test, "it was not run"))
        return "\n" + "\n".join(f"    {line}" for line in said.splitlines()[-lines:])


def table(reports: list[SuiteReport]) -> str:
    """All suites, a line each; seconds are those of all its processes, bare and with jobs."""
    rows = [HEAD, *(report.row for report in reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    numbers = (f"  {value:>{width}}" for value, width in zip(row[1:], widths[1:], strict=True))
    return row[0].ljust(widths[0]) + "".join(numbers)
