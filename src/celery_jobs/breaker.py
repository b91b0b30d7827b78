"""A circuit breaker: what has just failed is not tried again for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Breaker"]


class Breaker:
    """Closed until a failure; then open for `interval` seconds, after which one caller may try."""

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval
        self._clock = clock
        self._open_until: float | None = None

    def allows(self) -> bool:
        """Whether to try now; while open, the one caller that may try keeps the others off."""
        if self._open_until is None:
            return True
        if self._clock() < self._open_until:
            return False
        self._open_until = self._clock() + self.interval
        return True

    @property
    def is_closed(self) -> bool:
        """Whether everybody may try; unlike `allows` it is asked by who does not try."""
        return self._open_until is None

    @property
    def would_allow(self) -> bool:
        """Whether one may try, asked by who does not try yet: it takes nobody's turn."""
        return self._open_until is None or self._clock() >= self._open_until

    def failed(self) -> None:
        """Open."""
        self._open_until = self._clock() + self.interval

    def succeeded(self) -> None:
        """Close."""
        self._open_until = None
