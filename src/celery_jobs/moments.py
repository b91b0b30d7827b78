"""Moments as text, ISO 8601 in UTC, to the millisecond, ending in Z (semantics.md section 11), and as numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["EPOCH", "microseconds", "plain"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """A moment as a whole number, since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def plain(value: Any) -> Any:
    """A moment as text; anything else as it is."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
