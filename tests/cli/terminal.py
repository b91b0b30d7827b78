"""The admin script as a real process, in pipes or on a terminal of so many columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

HEEDING = [
    *(sys.executable, "-c"),
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
]
"""Runs a command that heeds Ctrl-C: tests in the background of a script ignore it, and so would what they start."""


@dataclass(frozen=True)
class Shell:
    broker_url: str
    database_url: str
    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command whose outputs are pipes."""
        return subprocess.Popen(
            [*HEEDING, *self._command(arguments)], env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=self.folder,
        )  # fmt: skip

    def on_terminal(self, *arguments: str, columns: int = 80, typed: str = "") -> tuple[int, str]:
        """The exit code, and what a terminal showed, without colours."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with subprocess.Popen(
            self._command(arguments), env=self._environment(), stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=self.folder, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            os.write(ours, typed.encode())
            shown = _read_all(ours)
        os.close(ours)
        return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r\n", "\n")

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "tests.cli.shop", "jobs", *arguments]

    def _environment(self) -> dict[str, str]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        ours = {"CELERY_BROKER_URL": self.broker_url, "JOBS_DATABASE_URL": self.database_url, "PYTHONPATH": paths}
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        return {**inherited, **ours, "TERM": "xterm"}


def _read_all(terminal: int) -> str:
    read = b""
    with suppress(OSError):  # the other end is closed
        while data := os.read(terminal, 65_536):
            read += data
    return read.decode()
