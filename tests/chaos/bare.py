"""The same jobs under the same faults on bare Celery: nothing but the log says what became of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.checker import Violation
from tests.chaos.course import trouble
from tests.chaos.evidence import Evidence
from tests.chaos.history import read_log
from tests.chaos.report import versions
from tests.chaos.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.chaos.plan import Plan

__all__ = ["BareReport", "run"]

STILL = 25.0
"""Seconds without a line in the log, after which nothing more is expected: thrice the visibility timeout."""
LONGEST = 90.0
OF_ITSELF = ("hang", "suicide", "poison")
"""Kinds of jobs that die without any fault."""


@dataclass(frozen=True, slots=True)
class BareReport:
    """A run on bare Celery. `lost`: kinds of acknowledged jobs that never came to their end."""

    plan: Plan
    evidence: Evidence
    lost: Counter[str]
    violations: Sequence[Violation] = field(default_factory=tuple)

    def __str__(self) -> str:
        evidence = self.evidence
        runs = Counter((run.number, run.start["attempt"]) for run in evidence.executions)
        faults = Counter(event["fault"] for event in evidence.of("fault", "on"))
        figures = {
            "bare Celery": f"acknowledges {self.plan.bare}",
            "jobs attempted": len(evidence.invokes),
            "acknowledged": len(evidence.acknowledged),
            "unknown": len(evidence.unknown),
            "lost": self.lost.total(),
            "lost to faults": sum(count for kind, count in self.lost.items() if kind not in OF_ITSELF),
            "lost of themselves": ", ".join(f"{self.lost[kind]} {kind}" for kind in OF_ITSELF),
            "executions": runs.total(),
            "re-executions": sum(count - 1 for count in runs.values()),
            "faults": f"{faults.total()}: " + ", ".join(f"{count} {name}" for name, count in sorted(faults.items())),
            "run": f"seed {self.plan.seed}, {versions()}",
        }
        return "\n".join(f"{name:<22} {value}" for name, value in figures.items())


def run(plan: Plan, folder: Path) -> BareReport:
    """Make the run, wait until nothing happens any more, and count what is missing."""
    with Stage(folder, plan) as stage:
        trouble(stage)
        _await_stillness(stage.log_file)
    evidence = Evidence(read_log(stage.log_file))
    lost = lost_kinds(evidence)
    words = (Violation("C1", f"{count} acknowledged jobs ({kind}) never ended") for kind, count in lost.items())
    return BareReport(plan, evidence, lost, tuple(words))


def _await_stillness(log: Path) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < LONGEST and time.time() - log.stat().st_mtime < STILL:
        time.sleep(0.5)


def lost_kinds(evidence: Evidence) -> Counter[str]:
    """The kinds of the jobs that were acknowledged, and of which no attempt was the last."""
    ended = {run.number for run in evidence.executions if run.end is not None and run.end["last"]}
    return Counter(evidence.kind_of(number) for number in evidence.acknowledged.keys() - ended)
