"""The neighbours page: its tests are there, and what they run with is what the page says."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.pages import DOCS, cells, code_in

PAGE = "neighbours.md"
ROOT = DOCS.parent
TESTED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]


def rows() -> list[list[str]]:
    return cells(PAGE, "Neighbours")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_neighbour_is_tested_from_the_version_that_the_page_names(row: list[str]) -> None:
    [package], version, [path] = code_in(row[0]), row[1], code_in(row[4])
    assert re.search(r"^def test_", (ROOT / path).read_text(), re.MULTILINE), path
    if package == "celery-batches":
        assert f"{package}=={version}" in (ROOT / ".ci" / "run").read_text()
    else:
        assert any(wanted.startswith(f"{package}>={version}") for wanted in TESTED), package
