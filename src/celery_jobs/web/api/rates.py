"""How many requests somebody may make in a time: by the generic cell rate algorithm, one number for each of them."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Meter"]

MINUTE = 60.0
MOST_KNOWN = 10_000
"""Of those who have asked lately; of who has not asked for longest nothing is known any more."""


class Meter:
    """Counts requests by who makes them, in this process. `clock`: seconds that only go on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, who: str, rate: int) -> int:
        """Count one request of `rate` a minute; 0 where there was room, else the seconds until there is."""
        now = self._clock()
        full_at = max(self._full_at.get(who, 0.0), now) + MINUTE / rate
        if full_at - now > MINUTE:
            return math.ceil(full_at - now - MINUTE) or 1
        self._full_at[who] = full_at
        self._full_at.move_to_end(who)
        if len(self._full_at) > MOST_KNOWN:
            self._full_at.popitem(last=False)
        return 0

    def is_full(self, who: str, rate: int) -> int:
        """The seconds until there is room for one more, which is not counted; 0 where there is."""
        left = self._full_at.get(who, 0.0) + MINUTE / rate - self._clock() - MINUTE
        return max(0, math.ceil(left))
