"""What each peer's module gives to whoever enqueues with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Producer"]


@dataclass(frozen=True, slots=True)
class Producer:
    """`send()` enqueues one no-op; `send_many(n)` many at once, None where the peer has nothing for it.

    `send_timed(moment)` enqueues a task that notes how long it waited. Each gives an awaitable where the peer is async.
    """

    send: Callable[[], Any]
    send_many: Callable[[int], Any] | None = None
    send_timed: Callable[[float], Any] | None = None
