"""What is read in several statements is read in one transaction."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.architecture.test_imports import PACKAGE, files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXECUTES = ("execute", "exec_driver_sql")


def reads(tree: ast.AST, kind: str) -> Iterator[ast.With]:
    """The blocks of `with db.<kind>() as connection`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            call = node.items[0].context_expr
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == kind:
                yield node


def statements(block: ast.With) -> int:
    """How many it makes: whoever is handed the connection makes one."""
    calls = [node for node in ast.walk(block) if isinstance(node, ast.Call)]
    return sum(_executes(call) or _hands_on(call) for call in calls)


def _executes(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in EXECUTES


def _hands_on(call: ast.Call) -> bool:
    return any(isinstance(given, ast.Name) and given.id == "connection" for given in call.args)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_read_of_several_statements_has_a_transaction(file: Path) -> None:
    for block in reads(ast.parse(file.read_text()), "asking"):
        assert statements(block) <= 1, f"line {block.lineno}: only db.reading() makes several statements consistent"
