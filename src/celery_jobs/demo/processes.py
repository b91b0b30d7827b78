"""The demo's processes: broker, worker, beat and Flower, each with its log in the data folder, none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Self

from celery_jobs.demo.folder import DATABASE
from celery_jobs.demo.valkey import HOST, free_port, start_valkey, tied_to_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["PASSWORD", "USER", "CeleryProcess", "PortTaken", "Processes", "flower_port", "make_environment"]

APP = "celery_jobs.demo.shop"
STOP_SECONDS = 8.0
FLOWER_PORT = 5555

WORKER = ("worker", "-E", "--loglevel=INFO", "-c", "2", "-n", "shop@%h", "--without-mingle", "--without-gossip")
# A schedule in memory: the demo keeps nothing from one run to the next.
BEAT = ("beat", "--loglevel=INFO", "--scheduler=celery.beat:Scheduler")
USER, PASSWORD = "demo", "demo"
"""Who signs in to Flower: without a sign-in its pages only show."""
FLOWER = ("flower", f"--address={HOST}", f"--conf={os.devnull}", f"--basic_auth={USER}:{PASSWORD}")


class PortTaken(RuntimeError):
    """Somebody else listens on the port asked for."""


class CeleryProcess:
    """One `celery` command on the shop, in a session of its own so that Ctrl-C is the tour's alone."""

    def __init__(
        self, arguments: Sequence[str], ready_words: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = arguments[0]
        self.log = folder / f"{self.name}.log"
        self._ready_words = ready_words
        self._ready = False
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                tied_to_parent([sys.executable, "-m", "celery", "-A", APP, *arguments]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def state(self) -> str:
        """`starting`, `running` or `ended`."""
        if self._process.poll() is not None:
            return "ended"
        self._ready = self._ready or self._ready_words in self.log.read_text(errors="replace")
        return "running" if self._ready else "starting"

    def ask_to_end(self) -> None:
        """Ask for a shutdown in good order."""
        self._process.terminate()

    def end(self) -> None:
        """Wait 8 s at most for the end, then kill the process with its children."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Processes:
    """Everything that runs beside the tour; leaving the context ends it all, whatever happened."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.flower_url = f"http://{HOST}:{port}"
        self.celery: list[CeleryProcess] = []
        self._port = port
        self._stack = ExitStack()

    @property
    def states(self) -> dict[str, str]:
        """The state of each process, by name."""
        broker = "running" if self._valkey.process.poll() is None else "ended"
        return {"broker": broker, **{process.name: process.state for process in self.celery}}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._valkey = stack.enter_context(start_valkey(self.folder))
            stack.callback(self._end)
            self.environment = make_environment(self._valkey.url, self.folder)
            for arguments, words in (
                ((*FLOWER, f"--port={self._port}"), "Connected to"),
                (WORKER, " ready."),
                (BEAT, "beat: Starting"),
            ):
                self.celery.append(CeleryProcess(arguments, words, self.folder, self.environment))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        with _undisturbed():
            for process in self.celery:
                process.ask_to_end()
            for process in self.celery:
                process.end()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a second Ctrl-C not leave processes behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_environment(broker_url: str, folder: Path) -> dict[str, str]:
    """The environment of the shop's processes: nothing of the user's own Celery or Flower reaches them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FLOWER_", "JOBS_"))}
    return {
        **kept,
        "CELERY_BROKER_URL": broker_url,
        "CELERY_RESULT_BACKEND": broker_url,
        "CELERY_JOBS_DEMO": str(folder),
        "JOBS_DATABASE_URL": f"sqlite:///{folder / DATABASE}",
    }


def flower_port(asked: int | None) -> int:
    """The port asked for, else Flower's own 5555, else any free one; raises PortTaken."""
    if _is_free(asked or FLOWER_PORT):
        return asked or FLOWER_PORT
    if asked:
        raise PortTaken(f"the port {asked} is taken on {HOST}; name another with --port")
    return free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
