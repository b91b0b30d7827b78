"""The list of tests that cannot pass with jobs, `deselected.txt`: each with the reason that stands above it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DESELECTED", "RACES", "parse"]

LIST = Path(__file__).with_suffix(".txt")

MAY_PASS = "? "
"""Stands before a test that waits for nothing and may win its race or lose it."""


def parse(text: str) -> dict[str, str]:
    """Read tests and their reasons: blocks of comments, then tests, with empty lines between; raises ValueError."""
    found: dict[str, str] = {}
    for block in text.split("\n\n"):
        lines = block.splitlines()
        reason = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
        for test in (line.removeprefix(MAY_PASS) for line in lines if line and not line.startswith("#")):
            if not reason or test in found:
                raise ValueError(f"{LIST.name}: {test} stands there twice, or without a reason above it")
            found[test] = reason
    return found


DESELECTED = parse(LIST.read_text())
RACES = frozenset(line.removeprefix(MAY_PASS) for line in LIST.read_text().splitlines() if line.startswith(MAY_PASS))
