"""An environment for each peer: their pins exclude each other, and each is to have what its own docs install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contenders import Peer

__all__ = ["PLACE", "Unavailable", "bin_of"]

PLACE = Path(__file__).resolve().parent.parent / "build" / "peers"
"""Where the environments are kept from one run to the next."""

PATIENCE = 600
"""Seconds for one installation."""


class Unavailable(RuntimeError):
    """A peer cannot run here; the text says why."""


def bin_of(peer: Peer) -> Path:
    """The folder of its environment's programs, made now if need be; raises Unavailable."""
    if not peer.packages:
        return Path(sys.executable).parent
    return _made(peer.module, peer.packages)


@cache
def _made(name: str, packages: tuple[str, ...]) -> Path:
    folder = PLACE / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    wanted, mark = "\n".join(packages), folder / "packages.txt"
    if not (mark.exists() and mark.read_text() == wanted):
        _make(folder, packages)
        mark.write_text(wanted)
    return folder / "bin"


def _make(folder: Path, packages: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{', '.join(packages)}: not installed within {PATIENCE} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{', '.join(packages)} cannot be installed: {lines[-1] if lines else 'pip said nothing'}")
