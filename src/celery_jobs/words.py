"""Words for people: moments, ages and spans of time, and text of jobs that a terminal may safely have."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_jobs.store.audit import Act

__all__ = ["act_result", "age", "error_line", "moment", "one_line", "plural", "safe", "span", "tags_line"]

_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, of which escapes are made, and marks that turn the direction of what follows."""

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def safe(text: str) -> str:
    """A job's text without what would steer a terminal; tabs and line ends stay."""
    return _HARMFUL.sub("", text)


def one_line(text: str | None) -> str:
    """The first line of a job's text that says something."""
    lines = (safe(line).strip() for line in (text or "").splitlines())
    return next((line.replace("\t", " ") for line in lines if line), "")


def error_line(error_type: str | None, message: str | None) -> str:
    """An error in one line: its class, without the module, and what it said."""
    name = one_line(error_type).rpartition(".")[2]
    return ": ".join(part for part in (name, one_line(message)) if part)


def tags_line(tags: list[str] | dict[str, Any] | None) -> str:
    """A job's tags one after the other, those of an object as `key: value`."""
    if isinstance(tags, dict):
        return ", ".join(f"{key}: {value}" for key, value in tags.items())
    return ", ".join(tags or ())


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(value: datetime | None) -> str:
    """How long ago a moment was, in one unit: `45s`, `12m`, `3h`, `2d`."""
    if value is None:
        return ""
    seconds = max(0.0, (datetime.now(UTC) - value).total_seconds())
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), ("s", 1))
    return f"{int(seconds // size)}{unit}"


def span(seconds: float) -> str:
    """A span of time in its two largest units: `87ms`, `1.2s`, `42s`, `1m 30s`, `3h`."""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number}{unit}" if number else "")
    return " ".join(part for part in parts[:2] if part)


def plural(count: int, noun: str) -> str:
    """A number and its noun: `1 run`, `1,200 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def act_result(act: Act) -> str:
    """What came of an act, with its counts where it has any."""
    said = act.result or ("interrupted" if act.is_interrupted else "goes on")
    if act.matched is None:
        return said
    return f"{said}: {act.done or 0:,} of {act.matched:,}" + (f", {act.skipped:,} skipped" if act.skipped else "")
