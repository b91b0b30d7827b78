"""What the tasks of every contender do: next to nothing, but so that it is seen from outside, whatever runs them.

Only the standard library: a peer's environment has nothing else of ours.
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FOLDER", "count", "note", "noted", "runs", "times", "waits"]

FOLDER = "BENCHMARK_TALLY"
"""The variable that names the folder of the two files."""

_DOUBLE = struct.Struct("d")


def count() -> None:
    """A no-op's body: the moment, appended to a file that all threads and forks share."""
    os.write(_opened("runs"), _DOUBLE.pack(time.monotonic()))


def note(sent: float) -> None:
    """Keep the seconds from `sent` (time.monotonic, one clock for all processes of a machine) to now."""
    os.write(_opened("waits"), _DOUBLE.pack(time.monotonic() - sent))


def runs(folder: Path) -> int:
    """How many times `count` was called."""
    return _size(folder / "runs")


def times(folder: Path) -> list[float]:
    """When `count` was called, in order."""
    return sorted(_read(folder / "runs"))


def noted(folder: Path) -> int:
    """How many times `note` was called."""
    return _size(folder / "waits")


def waits(folder: Path) -> list[float]:
    """What `note` has kept: seconds."""
    return _read(folder / "waits")


def _size(file: Path) -> int:
    return file.stat().st_size // _DOUBLE.size if file.exists() else 0


def _read(file: Path) -> list[float]:
    return [value for (value,) in _DOUBLE.iter_unpack(file.read_bytes())] if file.exists() else []


_files: dict[str, int] = {}


def _opened(name: str) -> int:
    if name not in _files:
        path = os.path.join(os.environ[FOLDER], name)
        _files[name] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    return _files[name]
