"""Commands of the pages that are not run, each with the reason why, and what is checked of them instead."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click

from celery_jobs.__main__ import main as package_command
from celery_jobs.store.migrations import VERSION_TABLE
from celery_jobs.store.tables import metadata

__all__ = ["require_command"]

ROOT = Path(__file__).parents[2]


def require_command(words: list[str]) -> None:
    """Raise AssertionError for a command that could not be run as it stands."""
    match words:
        case ["python", "-m", "celery_jobs", *rest]:
            _require_demo(rest)
        case ["python", "-m", "sphinx", *rest]:
            _require_build(rest)
        case ["pip", "install", *wanted]:
            _require_extras([word for word in wanted if not word.startswith("-")])
        case ["python", "-m", "venv", ".venv"] | ["source", ".venv/bin/activate"]:
            pass  # everybody's own
        case ["python", "-m", "tests.chaos", *rest]:
            _require_chaos(rest)
        case ["psql", "shop", "-c", statement]:
            _require_drop(statement)
        case ["pytest", *paths]:  # without paths: the page's own tests, which test_snippets runs
            assert all((ROOT / path).exists() for path in paths), paths
        case _:
            raise AssertionError(f"nobody runs {' '.join(words)!r}")


def _require_demo(words: list[str]) -> None:
    """tests/demo gives the tour; here its words are parsed."""
    name, *options = words
    command = package_command.commands[name]
    command.make_context(name, options)


def _require_chaos(words: list[str]) -> None:
    """A run takes minutes, and tests/chaos makes one; here its words are parsed."""
    from tests.chaos.__main__ import _arguments

    with patch.object(sys, "argv", ["tests.chaos", *words]):
        _arguments()


def _require_build(words: list[str]) -> None:
    """The site needs the extra `docs`, which tests do without: .ci/check builds it, with the same words."""
    built = re.search(r"-m sphinx (.*?) docs ", (ROOT / ".ci" / "check").read_text())
    assert built, ".ci/check builds no site"
    assert set(built[1].split()) - {"-q", "-E"} == set(words[:-2])


def _require_drop(statement: str) -> None:
    """tests/adoption drops the tables, with these words; here they are those that there are."""
    dropped = re.fullmatch(r"DROP TABLE ([a-z_, ]+)", statement)
    assert dropped, statement
    assert dropped[1].split(", ") == sorted([*metadata.tables, VERSION_TABLE])


def _require_extras(wanted: list[str]) -> None:
    """Installing takes minutes and a network; the names are checked."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in wanted:
        found = re.fullmatch(r"(celery-jobs|\.)(?:\[([\w,]+)\])?", name)
        assert found, f"{name} is another package"
        assert set((found[2] or "").split(",")) - {""} <= project["optional-dependencies"].keys(), name


assert isinstance(package_command, click.Group)
