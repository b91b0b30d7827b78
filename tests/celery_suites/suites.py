"""Which of Celery's suites are run, with which settings of ours, and in how many parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUITES", "Part", "Suite", "parts_of"]

SETTINGS: dict[str, Any] = {
    # What Celery's tests expect of a task that raises: its failure, at once.
    "jobs_queue_defaults": {"retries_enabled": False},
    # Each of the integration tests requires that its app knows no queue but this one.
    "jobs_service_queue": "celery",
}
"""Settings of ours in every suite."""

AS_CELERY_SENDS = {"jobs_broker_priorities": False}
"""Messages as Celery makes them: `inspect` is compared with whole messages, their priority among the rest."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Some of Celery's tests that run together, in `parts` processes at once."""

    name: str
    parts: int = 1
    more: dict[str, Any] = field(default_factory=dict, hash=False)
    """Settings of ours besides those of every suite."""

    @property
    def path(self) -> str:
        """The tests as pytest is told of them."""
        folder, _, module = self.name.partition("/")
        return f"t/integration/test_{module}.py" if folder == "integration" else f"t/{self.name}"

    @property
    def has_worker(self) -> bool:
        """Whether its tests run tasks in a worker, on a server: integration tests."""
        return self.name.startswith("integration/")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of ours."""
        return {**SETTINGS, **self.more}

    def has(self, test: str) -> bool:
        """Whether a test is one of the suite's."""
        return test.startswith((f"{self.path}::", f"{self.path}/"))


@dataclass(frozen=True, slots=True)
class Part:
    """What one process runs: every `of`-th test of a suite, from the `number`-th on, or a few of its tests by name."""

    suite: Suite
    number: int = 0
    of: int = 1
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name as that of a folder."""
        which = "-alone" if self.tests else f"-{self.number + 1}" if self.of > 1 else ""
        return self.suite.name.replace("/", "-") + which


SUITES = (
    # Longest first: they wait more than they work.
    Suite("integration/canvas", parts=8),
    Suite("integration/tasks", parts=2),
    Suite("unit/worker"),
    Suite("unit/tasks"),
    Suite("unit/app"),
    Suite("integration/inspect", more=AS_CELERY_SENDS),
    Suite("integration/group_chains"),
    Suite("integration/beat"),
)


def parts_of(suite: Suite, tests: Sequence[str] = ()) -> list[Part]:
    """The suite's parts; where only some tests are asked for, those of them that it has, in one."""
    if tests:
        return [Part(suite, tests=mine)] if (mine := tuple(filter(suite.has, tests))) else []
    return [Part(suite, number, suite.parts) for number in range(suite.parts)]
