"""A small run: workers, beat, broker, database and producers are struck, and no rule of the checker is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.nemesis import DECK
from tests.chaos.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.report import Report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]

SLOW = ("roll the workers", "run two beats", "kill beat", "freeze the proxy")
"""Faults that take too long for a small run."""


def test_a_small_run_breaks_no_rule(run: Callable[[Plan], Report]) -> None:
    quick = tuple(name for name in DECK if name not in SLOW)
    report = run(Plan(jobs=100, seconds=13, seed=5, faults=quick, pause=(0.2, 0.8)))
    print(report)
    assert len(report.evidence.acknowledged) > 50
    assert len(report.evidence.of("fault", "on")) >= 3
    assert report.violations == []
