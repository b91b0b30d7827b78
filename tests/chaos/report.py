"""What a run is told as: the figures, in the words of RabbitMQ's Jepsen tests, and what broke the rules."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.checker import Violation
    from tests.chaos.evidence import Evidence, Execution
    from tests.chaos.plan import Plan

__all__ = ["Report", "slowest_recovery", "versions"]

MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Report:
    """A run that is over. `drained`: seconds from the healing to the last verdict, None where it never came."""

    plan: Plan
    evidence: Evidence
    violations: Sequence[Violation]
    drained: float | None
    seconds: float

    def __str__(self) -> str:
        lines = [f"{name:<22} {value}" for name, value in self._figures().items()]
        shown = [f"  {violation}" for violation in self.violations[:MOST_SHOWN]]
        more = [f"  and {len(self.violations) - MOST_SHOWN} more"] if len(self.violations) > MOST_SHOWN else []
        return "\n".join([*lines, *shown, *more])

    def _figures(self) -> dict[str, object]:
        evidence = self.evidence
        faults = Counter(event["fault"] for event in evidence.of("fault", "on"))
        product = Counter(event.phase for event in evidence.of("product"))
        roots, runs = evidence.roots, Counter(run.job for run in evidence.executions)
        acknowledged = {number for number in evidence.acknowledged if not evidence.acknowledged[number]["deduplicated"]}
        return {
            "jobs attempted": len(evidence.invokes),
            "acknowledged": f"{len(evidence.acknowledged)} ({len(evidence.acknowledged) - len(acknowledged)} by key)",
            "refused": len(evidence.refused),
            "unknown": len(evidence.unknown),
            "recovered": len(evidence.unknown & roots.keys()),
            "lost": len(acknowledged - {n for n, rows in roots.items() if rows[0].ended_at is not None}),
            "unexpected": len(roots.keys() - evidence.invokes.keys()),
            "duplicated": sum(len(rows) - 1 for rows in roots.values()),
            "verdicts": _counted(Counter(str(chain[0].final_status) for chain in evidence.chains.values())),
            "cancels, replays": f"{len(evidence.of('cancel', 'ok'))}, {len(evidence.of('replay', 'ok'))}",
            "faults": f"{faults.total()}: {_counted(faults)}",
            "executions": runs.total(),
            "re-executions": sum(count - 1 for count in runs.values()),
            "duplicates prevented": product["job.dropped"] + product["job.gone"],
            "outcomes fenced": product["job.fenced"],
            "sent again": product["job.sent_again"],
            "slowest recovery": f"{slowest_recovery(evidence):.1f} s",
            "drained in": "never" if self.drained is None else f"{self.drained:.1f} s",
            "run": f"{self.seconds:.0f} s, seed {self.plan.seed}, {versions()}",
            "violations": len(self.violations),
        }


def slowest_recovery(evidence: Evidence) -> float:
    """The longest time, in seconds, from a process's death to the next start, or the end, of what it ran."""
    return max((_recovery(evidence, run) for run in evidence.executions if run.end is None), default=0.0)


def _recovery(evidence: Evidence, run: Execution) -> float:
    """Seconds in which a run that was cut off had no successor; 0 where it was not killed."""
    row = evidence.by_id.get(run.job)
    deaths = [hit.wall for hit in evidence.hits.get(run.start.pid, ()) if hit.wall >= run.start.wall]
    if row is None or not deaths:
        return 0.0
    chain = evidence.chains[row.original_id]
    starts = [
        other.start.wall
        for other in evidence.executions
        if other.job in {row.id for row in chain} and other.start.wall > run.start.wall
    ]
    following = min([*starts, chain[0].ended_at or float("inf")])
    return 0.0 if following == float("inf") else max(0.0, following - deaths[0])


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items())) or "none"


def versions() -> str:
    found = [f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "SQLAlchemy", "psycopg")]
    return ", ".join([f"Python {platform.python_version()}", *found])
