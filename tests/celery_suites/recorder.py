"""The pytest plugin of either side: runs one part of a suite and notes what became of each test, as it ends."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

FILE, PART, WORKER = "CELERY_SUITES_OUTCOMES", "CELERY_SUITES_PART", "CELERY_SUITES_WORKER"
"""Variables: the file to write; which tests to run, `1/8` for the second of eight parts; whether they need a worker."""


def note(**values: Any) -> None:
    """Append a line, there even where the process is killed next."""
    with open(os.environ[FILE], "a") as file:
        file.write(json.dumps(values) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    number, of = map(int, os.environ[PART].split("/"))
    config.hook.pytest_deselected(items=[item for place, item in enumerate(items) if place % of != number])
    items[:] = items[number::of]
    for item in items:
        # Some tests count on a worker that a test before them has started: alone they would wait for ever.
        if os.environ.get(WORKER) and isinstance(item, pytest.Function):
            item.fixturenames.append("celery_session_worker")
        note(test=item.nodeid, outcome="missing")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test has a report for each phase, and for each subtest."""
    if report.failed:
        note(test=report.nodeid, outcome="failed", text=report.longreprtext)
    elif report.skipped or report.when == "call":
        note(test=report.nodeid, outcome=report.outcome)
