"""The pages of the site as a reader meets them: their blocks, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "PAGES", "Block", "blocks_of", "cells", "code_in", "text_of"]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md") if file.name != "architecture.md")

_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line`: the page's line that its text begins at."""

    language: str
    text: str
    line: int


def text_of(page: str) -> str:
    """A page's Markdown."""
    return (DOCS / page).read_text()


def blocks_of(page: str) -> list[Block]:
    """A page's fenced blocks, in order."""
    text = text_of(page)
    return [Block(found[1], found[2], text[: found.start(2)].count("\n") + 1) for found in _FENCE.finditer(text)]


def cells(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    _, found, rest = text_of(page).partition(f"# {heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    table = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert table, f"{page} has no table under {heading!r}"
    rows = table[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def code_in(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)
