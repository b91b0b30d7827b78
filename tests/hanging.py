"""What a test that failed leaves to look into, and an end to waiting for a worker that hangs."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["pytest_runtest_makereport", "pytest_runtest_setup"]

MOST = 3
"""Tests of a group that fail one after the other before their worker is taken to hang."""

_failures: Counter[str] = Counter()
"""By group of tests, those that failed since one passed."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail at once what would wait for a worker in vain: each would take half a minute to say so."""
    if (group := _group(item)) and _failures[group] >= MOST:
        pytest.fail(f"{MOST} tests of {group!r} failed one after the other: not run", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show where the process's other threads were when a test failed."""
    report = yield
    if call.when == "call":
        _count(_group(item), report.failed)
        if report.failed:
            report.sections.append(("Captured threads", _threads()))
    return report


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0] if marker.args else marker.kwargs["name"]) if marker else ""


def _count(group: str, failed: bool) -> None:
    _failures[group] = _failures[group] + 1 if group and failed else 0


def _threads() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = [(id, frame) for id, frame in sys._current_frames().items() if id != threading.get_ident()]
    stacks = ["".join([f"{names.get(id, id)}:\n", *traceback.format_stack(frame)]) for id, frame in frames]
    return "\n".join([*stacks, "END OF THREADS"])
