"""The checker is not blind: a run on each deliberately broken build breaks the rule that the build breaks.

These runs take minutes: CELERY_JOBS_TEST_MATRIX=1 makes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.chaos.broken import BUILDS
from tests.chaos.checker import broken_rules
from tests.chaos.plan import BROKEN_PLANS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.plan import Plan
    from tests.chaos.report import Report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SEEDS = (1, 2, 3)


@pytest.mark.matrix
@pytest.mark.parametrize("build", BROKEN_PLANS)
def test_a_broken_build_is_caught(build: str, run: Callable[[Plan], Report]) -> None:
    plan, rules = BROKEN_PLANS[build]
    for seed in SEEDS:  # a fault must meet the moment that the build is open to
        report = run(replace(plan, seed=seed))
        print(report)
        if rules & broken_rules(report.violations).keys():
            return
    pytest.fail(f"{len(SEEDS)} runs broke none of {sorted(rules)}")


def test_every_broken_build_has_its_run() -> None:
    assert BROKEN_PLANS.keys() == BUILDS.keys()
