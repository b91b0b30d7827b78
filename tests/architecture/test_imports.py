"""Imports go one way, files are small, and there is no list of exceptions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import celery_jobs

PACKAGE = Path(celery_jobs.__file__).parent

LAYERS = (
    (
        "states",
        "errors",
        "ids",
        "words",
        "breaker",
        "priority",
        "soft_limit",
        "redaction",
        "failpoints",
        "moments",
        "rates",
    ),
    ("unchanged", "events", "words", "amounts"),
    (
        "policy",
        "addresses",
        "assertions",
        "signing",
        "sealing",
        "destinations",
        "canvas",
        "publisher",
        "delayed_delivery",
        "timetable",
    ),
    ("kept_client", "broker_connection"),
    ("rules",),
    ("settings",),
    ("configuration",),
    ("outgoing",),
    ("options",),
    ("store",),
    ("plugin",),
    ("answers",),
    ("runs", "run_events"),
    ("callbacks", "alerts", "waiting", "cursors"),
    ("envelope", "payload"),
    ("logs", "task_events", "ahead", "stencils"),
    ("sending", "queue_depth"),
    ("replaced",),
    ("recording", "batch", "arguments", "submission", "ticks"),
    ("adoption",),
    ("limits",),
    ("telling",),
    ("replaying", "template", "verdicts", "claiming", "result_store"),
    ("verbs", "what_if", "cancellation"),
    ("execution", "eager"),
    ("repeats",),
    ("submitting",),
    ("publishing", "services", "surviving"),
    ("worker", "beat", "remote_control"),
    ("installation",),
    ("task",),
    ("app", "http"),
    ("enqueueing", "payload_enqueueing", "bulk", "doctor", "keys", "queues", "following"),
    ("outside", "schedules", "tokens", "audit_log", "vitals", "examination", "erasing"),
    ("jobs", "ticker"),
    ("audit", "lineage"),
    ("cli", "demo", "testing", "web"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
"""Each module and package of ours with its layer: it may import from the layers above it in this list."""

MOST_LINES = 300
MOST_LINES_A_FUNCTION = 40


def files() -> list[Path]:
    return [file for file in sorted(PACKAGE.rglob("*.py")) if "versions" not in file.parts]


def unit_of(file: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Units of ours that the code imports, anywhere but for its types alone."""
    found: set[str] = set()
    for node in ast.walk(_without_type_checking(tree)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("celery_jobs"):
            parts = node.module.split(".")[1:]
            found.update(parts[:1] or [alias.name for alias in node.names])
    return found


def _without_type_checking(tree: ast.AST) -> ast.AST:
    class Strip(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    stripped: ast.AST = Strip().visit(tree)
    return stripped


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file: Path) -> None:
    unit = unit_of(file)
    if unit in ("__init__", "__main__"):
        return
    assert unit in RANK, f"{unit} is in no layer: put it where it belongs"
    for other in imported(ast.parse(file.read_text())) - {unit}:
        assert RANK[other] < RANK[unit], f"{unit} (layer {RANK[unit]}) imports {other} (layer {RANK[other]})"


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_are_small(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_LINES_A_FUNCTION, f"{node.name} has {lines} lines"
