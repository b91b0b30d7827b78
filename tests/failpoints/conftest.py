"""A stage for each case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.failpoints.shop import Place
from tests.failpoints.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stage(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(Place(broker_url, database_url, tmp_path))
    yield stage
    stage.close()
