"""Celery's own tests, as the source distribution of the installed version ships them. Never kept in the repository."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fetch"]

WANTED = ("t", "pyproject.toml")
"""Not the distribution's own `celery`, which would be imported in place of the installed one."""


def fetch(folder: Path) -> Path:
    """Give the folder with Celery's tests inside `folder`, fetched from the package index where they are not there."""
    name = f"celery-{version('celery')}"
    source = folder / name
    if not source.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(_download(folder), name, folder)
    return source


def _download(folder: Path) -> Path:
    wanted = f"celery=={version('celery')}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "celery", wanted]
    subprocess.run([*command, "-d", str(folder)], check=True)
    return folder / f"celery-{version('celery')}.tar.gz"


def _unpack(archive: Path, name: str, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        wanted = tuple(f"{name}/{path}" for path in WANTED)
        members = [m for m in tar.getmembers() if m.name in wanted or m.name.startswith(f"{wanted[0]}/")]
        tar.extractall(folder, members, filter="data")
