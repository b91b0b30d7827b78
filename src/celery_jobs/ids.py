"""Ids of jobs: UUIDs of version 7, which sort by the time they were made (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["made_at", "new_id", "new_ids", "parse_id"]

DRAWN = 256
"""Ids of one draw."""


def new_id() -> str:
    """Make a UUID of version 7: 48 bits of milliseconds, 12 of their fraction, 62 random."""
    return _made_now(os.urandom(8))


def new_ids() -> Iterator[str]:
    """Make as many as are asked for; asking for random bytes takes longer than making an id of them."""
    while True:
        drawn = os.urandom(8 * DRAWN)
        yield from (_made_now(drawn[start : start + 8]) for start in range(0, len(drawn), 8))


def _made_now(random: bytes) -> str:
    milliseconds, fraction = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | (fraction * 4096 // 1_000_000) << 64
    text = f"{value | 2 << 62 | int.from_bytes(random) >> 2:032x}"
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
