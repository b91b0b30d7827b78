"""Times, moments and rates as people write them: `30s`, `2h`, `2026-04-10T12:00`, `50/s`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["read_duration", "read_expiry", "read_moment", "read_rate", "read_window"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?", re.ASCII)


def read_duration(text: str) -> float:
    """Seconds; raises ValueError for what is none."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"seconds, or a time such as 30s, 5m or 2h, are expected, not {text!r}")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def read_window(text: str) -> float:
    """The same above 0."""
    seconds = read_duration(text)
    if seconds == 0:
        raise ValueError("a time above 0 such as 15m is expected")
    return seconds


def read_moment(text: str) -> datetime:
    """A moment in UTC, of ISO 8601 or of an age; raises ValueError for what is neither."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is not None and found[2]:
        try:
            return datetime.now(UTC) - timedelta(seconds=read_duration(text))
        except OverflowError:
            raise ValueError(f"{text!r} ago is before the year 1") from None
    try:
        return _in_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise ValueError(f"an ISO 8601 moment, or an age such as 30m, 2h or 7d, is expected, not {text!r}") from None


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def read_expiry(text: str) -> float | datetime:
    """Seconds, or a moment in UTC; raises ValueError for what is neither."""
    try:
        return read_duration(text)
    except ValueError:
        try:
            return _in_utc(datetime.fromisoformat(text.strip()))
        except (ValueError, OverflowError):
            raise ValueError(f"seconds, a time such as 2h, or an ISO 8601 moment is expected, not {text!r}") from None


def read_rate(text: str) -> float:
    """So many a second; raises ValueError for what is none."""
    found = _RATE.fullmatch(text.strip())
    rate = float(found[1]) / _SECONDS[found[2] or "s"] if found else 0.0
    if rate <= 0:
        raise ValueError(f"a rate above 0 such as 50/s or 3000/m is expected, not {text!r}")
    return rate
