"""Rates: so many starts in so much time, as a text such as `100/m`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Rate", "parse_rate"]

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `most` starts in any `window` seconds."""

    most: int
    window: float


def parse_rate(text: Any) -> Rate | None:
    """The rate that a text says: a whole number above 0, `/` and `s`, `m` or `h`; None for what says none."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([smh])", text) if isinstance(text, str) else None
    return None if found is None else Rate(int(found[1]), SECONDS[found[2]])
