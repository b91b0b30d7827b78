"""The reliability page: its tests are there, every fault of the chaos runs is listed, its times are the settings'."""

from __future__ import annotations

import re
from typing import Any

import pytest

from celery_jobs import settings
from tests.chaos.nemesis import FAULTS, OF_DATABASE
from tests.docs.pages import DOCS, cells, code_in, text_of

PAGE = "reliability.md"
ROOT = DOCS.parent
TABLES = ("Workers", "Beat and callers", "Broker", "Database and result store")
UNSHOWN = {"freeze the proxy"}
"""Faults that a chaos run alone shows."""


def rows() -> list[list[str]]:
    """The faults of all tables."""
    return [row for heading in TABLES for row in cells(PAGE, heading)]


def named_paths() -> set[str]:
    return set(re.findall(r"\btests/[\w/]+\.py\b", text_of(PAGE)))


def test_the_tests_that_the_page_names_are_there() -> None:
    assert named_paths()
    assert [path for path in sorted(named_paths()) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_fault_says_what_happens_and_names_a_test(row: list[str]) -> None:
    fault, happens, _, shown = row
    assert happens
    paths = code_in(shown)
    assert paths
    for path in paths:
        if not UNSHOWN & set(code_in(fault)):
            assert re.search(r"^def test_", (ROOT / path).read_text(), re.MULTILINE), path


def test_every_fault_of_the_chaos_runs_is_listed_once() -> None:
    assert sorted(name for row in rows() for name in code_in(row[0])) == sorted(FAULTS)


def test_the_times_are_those_of_the_settings() -> None:
    made: Any = settings.Settings()
    for name, default, _ in cells(PAGE, "The settings behind the times"):
        (option,) = code_in(name)
        assert default == f"`{getattr(made, option.removeprefix('jobs_'))!r}`", option


def test_what_bare_celery_is_spared_is_said() -> None:
    said = " ".join(text_of(PAGE).partition("# Beside bare Celery\n")[2].partition("\n## ")[0].split())
    assert {f"`{name}`" for name in OF_DATABASE} <= set(re.findall(r"`[^`]+`", said))
