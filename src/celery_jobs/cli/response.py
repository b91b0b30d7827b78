"""What the latest attempt of an HTTP job was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from celery_jobs.answers import body_text
from celery_jobs.words import one_line, plural, safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.cli.screen import Screen
    from celery_jobs.runs import Run
    from celery_jobs.store.rows import Response

__all__ = ["print_response"]

MOST_LINES, MOST_CHARACTERS = 20, 4000
"""Of a body on a terminal."""


def print_response(screen: Screen, run: Run, print_fact: Callable[[Screen, str, Text], None]) -> None:
    """Its status, headers and body; on a terminal the beginning of it."""
    response = run.response
    if response is None:
        return
    print_fact(screen, "answered", Text(str(response.status)))
    for name, value in response.headers.items():
        print_fact(screen, "", Text.assemble((f"{safe(name)}: ", "dim"), one_line(value)))
    if response.body:
        print_fact(screen, "body", Text(_body(response, screen.is_terminal)))


def _body(response: Response, is_terminal: bool) -> str:
    """Whoever is answered by an attacker is not to have his terminal steered by him."""
    size = f"{len(response.body):,} bytes" + (", cut there" if response.truncated else "")
    text = body_text(response)
    if text is None:
        return f"{size}, not UTF-8; --json has them"
    lines = safe(text).split("\n")
    shown = "\n".join(lines[:MOST_LINES])[:MOST_CHARACTERS]
    if is_terminal and len(shown) < len("\n".join(lines)):
        return f"{shown}\n… {plural(len(response.body), 'byte')} in all; --json has them"
    return "\n".join(lines) + (f"\n… {size}" if response.truncated else "")
