"""Regular expressions of assertions, which may look at another's text for a bounded time only.

`re` cannot be stopped by a clock: a pattern such as `(a+)+b` would hold its worker for as long as the sender wishes.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_SECONDS", "bounded", "compiled", "fault", "look", "search", "seconds_left"]

MOST_SECONDS = 1.0
"""For all patterns and paths of one response together."""

MOST_CHARACTERS = 1000
"""Of a pattern."""

_until: ContextVar[float | None] = ContextVar("celery_job_patterns_until", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """All that is looked for inside takes at most `MOST_SECONDS`."""
    token = _until.set(time.monotonic() + MOST_SECONDS)
    try:
        yield
    finally:
        _until.reset(token)


def seconds_left() -> float:
    """Never nothing: a pattern that is quick is still answered."""
    until = _until.get()
    return MOST_SECONDS if until is None else max(0.001, until - time.monotonic())


def look() -> None:
    """Raise TimeoutError where the time is over."""
    until = _until.get()
    if until is not None and time.monotonic() > until:
        raise TimeoutError


def search(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text; raises TimeoutError."""
    return compiled(pattern).search(text, timeout=seconds_left()) is not None


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """The pattern, compiled; raises `regex.error`."""
    import regex  # which takes long to load, and most apps have no pattern

    return regex.compile(pattern)


def fault(pattern: Any) -> str | None:
    """What is wrong with a pattern, in words."""
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= MOST_CHARACTERS:
        return f"a regular expression of 1 to {MOST_CHARACTERS:,} characters is expected, not {pattern!r:.200}"
    import regex

    try:
        compiled(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return f"{pattern!r:.200} is not a regular expression: {error}"
    return None
