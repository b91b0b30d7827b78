"""The log of a run: a line of JSON an event, each appended in one write, outside the product's database."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Event", "Log", "read_log"]


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `kind` with its `phase`s:

    enqueue, cancel, replay: invoke, ok, fail, info (unknown); run: start, end, dying; fault: on, off;
    healed: mark; product: the name of the event that the product told.
    """

    kind: str
    phase: str
    mono: float
    wall: float
    pid: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.facts.get(name)


class Log:
    """The writing end; any number of processes may have one on the same file."""

    def __init__(self, file: Path | str) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, phase: str, **facts: Any) -> None:
        """Append an event that happens now."""
        line = {"kind": kind, "phase": phase, "mono": time.monotonic(), "wall": time.time(), "pid": os.getpid()}
        os.write(self._fd, (json.dumps({**line, "facts": facts}) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_log(file: Path) -> list[Event]:
    """All events, in the order of their time. A line that its writer was killed in is left out."""
    events = []
    with file.open() as lines:
        for line in lines:
            with suppress(json.JSONDecodeError):
                events.append(Event(**json.loads(line)))
    return sorted(events, key=lambda event: event.mono)
