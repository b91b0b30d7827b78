"""Ids of jobs: UUIDs of version 7, which sort by the time they were made (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime

__all__ = ["made_at", "new_id", "parse_id"]


def new_id() -> str:
    """Make a UUID of version 7: 48 bits of milliseconds, 12 of their fraction, 62 random."""
    milliseconds, fraction = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | (fraction * 4096 // 1_000_000) << 64
    text = f"{value | 2 << 62 | int.from_bytes(os.urandom(8)) >> 2:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def made_at(id: str) -> datetime:
    """When an id was made, by the clock of whoever made it; to the millisecond."""
    return datetime.fromtimestamp((uuid.UUID(id).int >> 80) / 1000, UTC)


def parse_id(text: str) -> str | None:
    """Give the usual spelling of a UUID, None for what is none."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        return None
