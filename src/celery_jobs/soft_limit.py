"""Celery's soft time limit raises anywhere in a pool process's main thread; a claim or a finish must not be hit.

The pool sends a signal to the process, which any thread may receive, so that a mask would not do: its handler,
which Python runs in the main thread, is wrapped.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["drop", "held", "hold", "let", "limited"]

_SIGNAL: Any = getattr(signal, "SIGUSR1", None)
"""By which the prefork pool has SoftTimeLimitExceeded raised."""


class _Guard:
    """The handler in place of the pool's, which it calls at once, later, or never."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.held = False
        self.pending = False

    def __call__(self, number: int, frame: Any) -> None:
        if self.held:
            self.pending = True
        else:
            self.handler(number, frame)


def hold() -> None:
    """Hold the limit back from here on."""
    guard = _guard()
    if guard is not None:
        guard.held = True


def let() -> None:
    """Let the limit through again; one that was held back raises now."""
    guard = _guard()
    if guard is None:
        return
    guard.held = False
    if guard.pending:
        guard.pending = False
        guard.handler(_SIGNAL, None)


@contextmanager
def held() -> Iterator[None]:
    """Hold the limit back inside; one that came meanwhile raises at the end, if it was let through before."""
    guard = _guard()
    if guard is None or guard.held:
        yield
        return
    guard.held = True
    try:
        yield
    finally:
        let()


def drop() -> None:
    """Forget a limit that was held back: the attempt has ended before it."""
    guard = _guard()
    if guard is not None:
        guard.pending = False


def limited(body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a body, which the limit may hit; one that came before it hits it at once."""
    try:
        let()
        return body(*args, **kwargs)
    finally:
        hold()


def _guard() -> _Guard | None:
    """The guard of this process; None where no limit can hit."""
    if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
        return None
    handler = signal.getsignal(_SIGNAL)
    if isinstance(handler, _Guard):
        return handler
    if not callable(handler):
        return None
    guard = _Guard(handler)
    signal.signal(_SIGNAL, guard)
    return guard
