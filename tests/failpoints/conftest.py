"""A stage for each case; the rest of the matrix runs where it is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.failpoints.shop import Place
from tests.failpoints.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MATRIX_VARIABLE = "CELERY_JOBS_TEST_MATRIX"


@pytest.fixture
def stage(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(Place(broker_url, database_url, tmp_path))
    yield stage
    stage.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(MATRIX_VARIABLE) == "1":
        return
    for item in items:
        if item.get_closest_marker("matrix") is not None:
            item.add_marker(pytest.mark.skip(reason=f"the whole matrix runs with {MATRIX_VARIABLE}=1"))
