"""What a server asks for with `Retry-After`: seconds or a date (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from celery_jobs.errors import LONGEST_WAIT

__all__ = ["seconds_to_wait"]

_SECONDS = re.compile(r"[0-9]{1,18}")


def seconds_to_wait(value: str | None, longest: float, now: datetime) -> float | None:
    """Seconds that a header `Retry-After` asks to wait, `longest` at most; None where it says nothing that can be read.

    A date that has passed asks for nothing.
    """
    longest = min(longest, LONGEST_WAIT)
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), longest)
    try:
        until = parsedate_to_datetime(text)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        seconds = (until - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, seconds), longest)
