"""The page of traps: all of them are there, each says what holds, and the tests that it names exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, cells, code_in

PAGE = "traps.md"
ROOT = DOCS.parent
TABLES = ("Chains, groups and chords", "Calling", "Retrying and ending", "Broker", "Workers and operators")
TRAPS = 47

OPEN = {"Amazon SQS"}
"""Traps that no test shows, as what they are of cannot be run here."""


def rows() -> list[list[str]]:
    """The traps of all tables."""
    return [row for heading in TABLES for row in cells(PAGE, heading)]


def test_all_traps_are_there_and_numbered() -> None:
    assert [row[0] for row in rows()] == [str(number) for number in range(1, TRAPS + 1)]
    assert len({row[1] for row in rows()}) == TRAPS


def test_the_open_traps_are_on_the_page() -> None:
    assert {row[1] for row in rows()} >= OPEN


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_each_trap_says_what_holds_and_names_tests_that_exist(row: list[str]) -> None:
    _, trap, celerys, here, shown = row
    assert celerys
    assert here
    tests = code_in(shown)
    assert bool(tests) != (trap in OPEN), f"{trap!r}: who is shown by no test is in OPEN, and nobody else"
    for test in tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test
