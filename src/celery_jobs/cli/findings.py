"""What the doctor found, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from celery_jobs.words import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_jobs.cli.screen import Screen
    from celery_jobs.doctor import Finding

__all__ = ["print_findings"]

_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_WIDTH = 9


def print_findings(screen: Screen, findings: Sequence[Finding]) -> None:
    """Each finding with what to do beneath it, and a word where nothing is wrong."""
    for finding in findings:
        severity = Text(finding.severity.ljust(_WIDTH), _COLOURS[finding.severity])
        screen.print_indented(severity, Text(safe(f"{finding.check}: {finding.words}")))
        screen.print_indented(Text(" " * _WIDTH), Text(safe(finding.advice), "dim"))
    if all(finding.severity == "info" for finding in findings):
        screen.print(Text("all is well", "green"))
