"""The demo's data folder: made by it, emptied by it at every start, and no other folder touched."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DATABASE", "FolderRefused", "claimed"]

MARKER = ".celery-jobs-demo"
DATABASE = "jobs.sqlite3"
OWN = ("*.log", f"{DATABASE}*", "warehouse-is-down", "memory-is-short")
"""What the demo leaves in its folder, and the next run deletes."""


class FolderRefused(RuntimeError):
    """The folder is not the demo's, or another demo uses it; the text says what to do."""


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """The folder, absolute, emptied of an earlier run, and held by this one; raises FolderRefused."""
    folder = folder.resolve()
    _require_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MARKER).open("w") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderRefused(f"another demo is running in {folder}; name another folder with --data") from None
        marker.write("celery-jobs demo: this folder is emptied at every start\n")
        marker.flush()
        _empty(folder)
        yield folder


def _require_own(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FolderRefused(f"{folder} is not a folder; name another with --data")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise FolderRefused(
            f"{folder} is not empty and not made by the demo, so it is left alone; name another with --data"
        )


def _empty(folder: Path) -> None:
    for pattern in OWN:
        for file in folder.glob(pattern):
            file.unlink()
