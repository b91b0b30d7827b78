"""The page of brokers and pools: every pool that is tested has its row, and every test that it names is there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, cells, code_in
from tests.pools.conftest import PLACES

PAGE = "brokers-and-pools.md"
ROOT = DOCS.parent


def test_each_pool_has_its_row() -> None:
    assert [code_in(row[0]) for row in cells(PAGE, "Pools")] == [[pool] for pool in PLACES]


@pytest.mark.parametrize("row", cells(PAGE, "Pools") + cells(PAGE, "Brokers"), ids=lambda row: row[0])
def test_each_row_names_a_test_that_is_there(row: list[str]) -> None:
    paths = code_in(row[-1])
    assert paths
    for path in paths:
        assert re.search(r"^def test_", (ROOT / path).read_text(), re.MULTILINE), path
