"""When a whole request is given up.

httpcore bounds each read and write by itself, so a peer that sends a byte a second would never be cut. Here every wait
ends at the request's one deadline, without signals, in any thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpcore

__all__ = ["Deadline"]


@dataclass
class Deadline:
    """When everything under way is given up, on a monotonic clock; set anew for each request of a connection."""

    until: float
    monotonic: Callable[[], float] = time.monotonic

    def left(self, error: type[httpcore.TimeoutException], timeout: float | None = None) -> float:
        """Seconds, more than 0 and at most `timeout`; raises `error` when none are left."""
        left = self.until - self.monotonic()
        if left <= 0:
            raise error("the deadline of the whole request has passed")
        return left if timeout is None else min(left, timeout)
