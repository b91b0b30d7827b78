"""The adopting page: each line of its two tables names tests that are there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, cells, code_in

ROOT = DOCS.parent
TABLES = ("What changes", "What does not change")


@pytest.mark.parametrize("heading", TABLES)
def test_each_line_says_what_is_so_and_names_tests(heading: str) -> None:
    for what, so, shown in cells("adopting.md", heading):
        assert so, what
        paths = code_in(shown)
        assert paths, what
        for path in paths:
            assert re.search(r"^def test_", (ROOT / path).read_text(), re.MULTILINE), path
