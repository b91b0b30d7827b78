"""A container that is a process of this machine: started, killed and restarted as Docker does it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import psutil
from docker.errors import APIError
from docker.models.containers import ExecResult

from celery_jobs.demo.valkey import HOST, free_port, server_binary, tied_to_parent
from tests.processes import SOURCE, is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["ProcessContainer"]

EXEC_SECONDS = 30.0
LISTENS = "0A"
SOCKETS = "cat /proc/net/tcp /proc/net/tcp6"
"""How pytest-docker-tools asks a container which of its ports are open."""


@dataclass(slots=True)
class ProcessContainer:
    """What pytest-docker-tools calls on docker-py's Container, for the programs of the images used here."""

    folder: Path
    """The container's own file system: there until `remove`, also over restarts."""
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Folders of volumes, by where the container sees them."""
    ports: Mapping[str, int | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "bridge"
    id: str = field(default_factory=lambda: uuid.uuid4().hex * 2)
    attrs: dict[str, Any] = field(init=False)
    _host_ports: dict[str, int] = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self._host_ports = {name: port or free_port() for name, port in (self.ports or {}).items()}
        self.reload()

    @property
    def name(self) -> str:
        """A name that no other container has."""
        return f"process-{self.id[:12]}"

    @property
    def status(self) -> str:
        """created, running or exited, as it was at the last `reload`."""
        return str(self.attrs["State"]["Status"])

    def reload(self) -> None:
        """Look again what state the container is in."""
        bindings = {name: [{"HostIp": HOST, "HostPort": str(port)}] for name, port in self._host_ports.items()}
        self.attrs = {
            # Its name on the network: what it serves is reached at the port that it has on this machine.
            "Config": {
                "Hostname": ":".join([HOST, *map(str, self._host_ports.values())]),
                "Env": [f"{name}={value}" for name, value in self.environment.items()],
                "Labels": dict(self.labels),
            },
            "State": {"Status": self._state()},
            "HostConfig": {"PortBindings": bindings},
            "NetworkSettings": {"Networks": {self.network: {"IPAddress": HOST}}, "Ports": bindings},
        }

    def start(self) -> None:
        """Start the command; its output goes on where it ended."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tied_to_parent(self._argv(self.command), signal.SIGKILL),
                cwd=self._working_folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, signal_name: str | int | None = None) -> None:
        """Signal the command, not its children; SIGKILL, also by default, ends them all at once."""
        if self._process is None or self._process.poll() is not None:
            raise APIError(f"container {self.name} is not running")
        number = _number(signal_name)
        if number is signal.SIGKILL:
            self._end()
        else:
            self._process.send_signal(number)

    def restart(self, timeout: float = 10) -> None:
        """Ask the command to end (SIGTERM), make it after `timeout` s, and start it again on the same ports."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
            self._end()
        self.start()

    def remove(self, v: bool = False, force: bool = False) -> None:
        """Delete the container, a running one only by `force`."""
        if self._state() == "running" and not force:
            raise APIError(f"container {self.name} is running; stop it first, or remove it by force")
        self._end()
        shutil.rmtree(self.folder)

    def logs(self) -> bytes:
        """All output so far, of every start."""
        return self._log.read_bytes() if self._log.exists() else b""

    def exec_run(self, cmd: str | Sequence[str]) -> ExecResult:
        """Run a command beside the container's own, in its folder and environment."""
        if cmd == SOCKETS:
            return ExecResult(0, self._sockets().encode())
        done = subprocess.run(
            self._argv(shlex.split(cmd) if isinstance(cmd, str) else cmd),
            cwd=self._working_folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=EXEC_SECONDS,
            check=False,
        )
        return ExecResult(done.returncode, done.stdout)

    def put_archive(self, path: str, data: IO[bytes]) -> bool:
        """Unpack a tar file into the volume at `path`."""
        with tarfile.open(fileobj=data) as archive:
            for member in archive:
                target = self.mounts[path] / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                if file := archive.extractfile(member):
                    target.write_bytes(file.read())
        return True

    @property
    def _log(self) -> Path:
        return self.folder / "output.log"

    @property
    def _working_folder(self) -> Path:
        """The volume, as the images have it; without one the container's own folder."""
        return next(iter(self.mounts.values()), self.folder)

    def _argv(self, command: Sequence[str]) -> list[str]:
        """The command with what the image would have in its place: this interpreter, this package, our Valkey."""
        program, *arguments = command
        if program == "redis-server":
            port = self._host_ports["6379/tcp"]
            place = ["--bind", HOST, "--port", str(port), "--dir", str(self.folder)]
            return [str(server_binary()), *arguments, *place]
        if program == "celery":
            # A container's host name is its short id.
            return [sys.executable, "-m", "celery", *(word.replace("%h", self.id[:12]) for word in arguments)]
        return [sys.executable if program == "python" else program, *arguments]

    def _environment(self) -> dict[str, str]:
        """This process's environment with the container's on top, its paths in volumes made real ones."""
        given = {name: str(self.mounts.get(value, value)) for name, value in self.environment.items()}
        path = os.pathsep.join(filter(None, (given.get("PYTHONPATH"), str(SOURCE), os.environ.get("PYTHONPATH"))))
        return os.environ | given | {"PYTHONPATH": path, "TMPDIR": str(self.folder)}

    def _state(self) -> str:
        if self._process is None:
            return "created"
        return "running" if self._process.poll() is None else "exited"

    def _sockets(self) -> str:
        """The container's ports that accept connections here, as Linux lists them."""
        heading = "sl local_address rem_address st"
        lines = (
            f"0: 0100007F:{int(name.split('/')[0]):04X} 00000000:0000 {LISTENS}"
            for name, port in self._host_ports.items()
            if _accepts(port)
        )
        return "\n".join([heading, *lines])

    def _end(self) -> None:
        """End the command at once, and with it all that it has started, as the end of a container does."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        wait_until(self._is_empty, message=f"processes of {self.name} outlive SIGKILL")

    def _is_empty(self) -> bool:
        left = [process for process in psutil.process_iter() if self._is_member(process)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return not left

    def _is_member(self, process: psutil.Process) -> bool:
        assert self._process is not None
        try:
            return os.getsid(process.pid) == self._process.pid and is_running(process)
        except (ProcessLookupError, PermissionError):
            return False


def _number(given: str | int | None) -> signal.Signals:
    if given is None:
        return signal.SIGKILL
    return signal.Signals[given] if isinstance(given, str) else signal.Signals(given)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
