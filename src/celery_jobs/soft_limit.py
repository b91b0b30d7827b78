"""Celery's soft time limit raises anywhere in a pool process's main thread; a claim or a finish must not be hit."""

from __future__ import annotations

import signal
import threading
from typing import Any

__all__ = ["drop", "hold", "let"]

_SIGNAL: Any = getattr(signal, "SIGUSR1", None)
"""By which the prefork pool has SoftTimeLimitExceeded raised."""


def hold() -> Any:
    """Hold the limit back, and give what `let` needs; None where it cannot hit."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGNAL}) if _can_hit() else None


def let(before: Any) -> None:
    """Let the limit through again; one that was held back raises now."""
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def drop() -> None:
    """Forget a limit that was held back: the attempt has ended before it."""
    if _can_hit() and _SIGNAL in signal.sigpending():
        # Ignoring a signal discards the one that is pending.
        signal.signal(_SIGNAL, signal.signal(_SIGNAL, signal.SIG_IGN))


def _can_hit() -> bool:
    return _SIGNAL is not None and threading.current_thread() is threading.main_thread()
