"""Named points where a test can strike: kill the process, hang, fail, or lose a reply. Off unless a test arms one.

A process is armed by its environment, `CELERY_JOBS_FAILPOINT=complete.committed:kill`, and strikes once for all
processes that share the file that `CELERY_JOBS_FAILPOINT_STRUCK` names. `armed` is None in production, and a point
costs the look at it. `CELERY_JOBS_FAILPOINT_SECONDS` says how long a hang takes.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KINDS", "POINTS", "Lost", "arm", "armed", "reach", "striking"]

TRANSITIONS = (
    "enqueue",
    "adopt",
    "claim",
    "complete",
    "retry",
    "bury",
    "take",
    "declare_dead",
    "lose",
    "release",
    "cancel",
    "kill",
    "expire",
    "refuse",
    "replay",
    "sweep",
    "mark_told",
    "tick",
    "callback.take",
    "callback.mark",
    "callback.resend",
)
"""Transactions of the store; each has three points: begun, written (its commit to come), committed (unread)."""

POINTS = (
    *(f"{name}.{stage}" for name in TRANSITIONS for stage in ("begun", "written", "committed")),
    "send.begun",
    "send.sent",
    "run.begun",
    "run.ended",
    "tell.told",
    "callback.sent",
)

HANG_SECONDS = 6.0


class Lost(OSError):
    """What a struck point raises: as if the server's connection had been lost there."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(1)


def _hang() -> None:
    time.sleep(float(os.environ.get("CELERY_JOBS_FAILPOINT_SECONDS", HANG_SECONDS)))


def _lose() -> None:
    raise Lost("a failpoint was struck")


KINDS: dict[str, Callable[[], None]] = {"kill": _kill, "exit": _exit, "hang": _hang, "lose": _lose}

armed: tuple[str, Callable[[], None]] | None = None
"""The one point that is to be struck, and how."""


def reach(point: str) -> None:
    """Strike, if this is the armed point."""
    if armed is not None and armed[0] == point and _is_first():
        armed[1]()


def _is_first() -> bool:
    """Whether nobody has struck yet: a point is struck once, however many processes come by."""
    struck = os.environ.get("CELERY_JOBS_FAILPOINT_STRUCK")
    if struck is None:
        return True
    try:
        os.close(os.open(struck, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _read(text: str) -> tuple[str, Callable[[], None]]:
    point, _, kind = text.partition(":")
    if point not in POINTS or kind not in KINDS:
        raise ValueError(f"CELERY_JOBS_FAILPOINT: point:kind is expected, of {POINTS} and {tuple(KINDS)}, not {text!r}")
    return point, KINDS[kind]


@contextmanager
def striking(point: str, kind: str) -> Iterator[list[str]]:
    """Strike at this point of this process, once; gives a list that holds the point when it has been struck."""
    global armed
    where, act = _read(f"{point}:{kind}")
    struck: list[str] = []

    def once() -> None:
        if not struck:
            struck.append(where)
            act()

    armed = (where, once)
    try:
        yield struck
    finally:
        armed = None


def arm() -> None:
    """Arm this process as its environment says; raises ValueError for what is no point and kind."""
    global armed
    text = os.environ.get("CELERY_JOBS_FAILPOINT")
    armed = None if text is None else _read(text)


arm()
