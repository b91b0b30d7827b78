"""A small run in the test's own folder, left out where there is no server to strike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs.demo.valkey import ValkeyUnavailable
from tests.chaos import course
from tests.servers.postgres import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.plan import Plan
    from tests.chaos.report import Report


@pytest.fixture
def run() -> Callable[[Plan], Report]:
    """Makes runs; nothing of them is left."""

    def make(plan: Plan) -> Report:
        try:
            with course.folder_of_a_run() as folder:
                return course.run(plan, folder)
        except (ValkeyUnavailable, ServerUnavailable) as error:
            pytest.skip(f"no chaos without its servers: {error}")

    return make
