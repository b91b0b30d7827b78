"""Moments as text: ISO 8601 in UTC, to the millisecond, ending in Z (semantics.md section 11)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """A moment as text; anything else as it is."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
