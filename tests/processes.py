"""Real Celery processes for the tests: each in its own group, none left behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeVar

import psutil

from celery_jobs.demo.valkey import tied_to_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

POLL_SECONDS = 0.02
END_SECONDS = 45
"""A pool's child lingers up to 30 s where the signal to end came between a job's way to it and its word of having it:
billiard waits until the parent has counted a result, and the parent has forgotten that job."""
SOURCE = Path(__file__).resolve().parent.parent / "src"

_numbers = itertools.count(1)


def wait_until(
    condition: Callable[[], T | Literal[False] | None],
    timeout: float = 15,
    message: str | Callable[[], str] = "the condition did not come true",
    process: CeleryProcess | None = None,
) -> T:
    """The condition's first true value; after `timeout` s an AssertionError with the process's log.

    A busy machine has twice as long.
    """
    deadline = time.monotonic() + timeout * 2
    while not (value := condition()):
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            raise AssertionError(f"{said} (waited {timeout * 2:g} s){process.tail() if process else ''}")
        time.sleep(POLL_SECONDS)
    return value


def is_running(process: psutil.Process) -> bool:
    """Whether it still runs; one that only waits for its parent to collect it does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class CeleryProcess:
    """One `celery` process and its children; leaving the context kills them all."""

    ready_line: ClassVar[str]
    tied_by: ClassVar[signal.Signals]

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        broker_url: str,
        command: Sequence[str],
        database_url: str | None = None,
        result_backend: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        urls = {
            "CELERY_BROKER_URL": broker_url,
            "JOBS_DATABASE_URL": database_url,
            "CELERY_RESULT_BACKEND": result_backend,
        }
        self.log_file = folder / f"{command[0]}-{next(_numbers)}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                tied_to_parent([sys.executable, "-m", "celery", "-A", app, *command], self.tied_by),
                cwd=folder,
                env=_environment(urls, folder, env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the process itself, not of its pool."""
        return self.process.pid

    @property
    def log(self) -> str:
        """All output so far."""
        return self.log_file.read_text(errors="replace")

    def tail(self, lines: int = 60) -> str:
        """The last lines of output, under a heading."""
        return f"\n--- {self.log_file.name}\n" + "\n".join(self.log.splitlines()[-lines:])

    def wait_ready(self, timeout: float = 20) -> Self:
        """Wait, `timeout` s at most, until the process says that it is ready."""
        wait_until(self._ready, timeout, f"{self.log_file.stem} did not become ready", self)
        return self

    def children(self) -> list[int]:
        """The process ids of the pool's children."""
        return [child.pid for child in self._descendants()]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children."""
        self.process.send_signal(number)

    def stop(self, timeout: float = END_SECONDS) -> int:
        """Shut down warm (SIGTERM), within `timeout` s; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_ended(timeout)

    def wait_ended(self, timeout: float = END_SECONDS) -> int:
        """Wait, `timeout` s at most, until the process has ended; returns the exit code."""
        wait_until(lambda: self.process.poll() is not None, timeout, "the process did not end", self)
        return self.process.returncode

    def kill(self) -> None:
        """Kill the whole group at once (SIGKILL), as a machine that goes away."""
        members = {*self._descendants(), *_group(self.pid)}
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()
        wait_until(lambda: not any(map(is_running, members)), message="children outlive SIGKILL", process=self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        if kind is not None:
            print(self.tail())

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the process ended with exit code {self.process.returncode}{self.tail()}")
        return self.ready_line in self.log

    def _descendants(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found


class Worker(CeleryProcess):
    """A `celery worker`."""

    ready_line = " ready."
    tied_by = signal.SIGQUIT

    def __init__(
        self,
        app: str,
        folder: Path,
        *arguments: str,
        broker_url: str,
        database_url: str | None = None,
        result_backend: str | None = None,
        concurrency: int = 1,
        pool: str = "prefork",
        queues: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        command = [
            *("worker", "--loglevel", "INFO", "--without-mingle", "--without-gossip"),
            *("-n", f"worker-{next(_numbers)}@%h", "-c", str(concurrency), "-P", pool),
            *(("-Q", ",".join(queues)) if queues else ()),
            *arguments,
        ]
        super().__init__(
            app,
            folder,
            broker_url=broker_url,
            command=command,
            database_url=database_url,
            result_backend=result_backend,
            env=env,
        )


class Beat(CeleryProcess):
    """A `celery beat` with its schedule file in `folder`."""

    ready_line = "beat: Starting..."
    tied_by = signal.SIGTERM

    def __init__(
        self,
        app: str,
        folder: Path,
        *arguments: str,
        broker_url: str,
        database_url: str | None = None,
        result_backend: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        schedule = folder / f"celerybeat-schedule-{next(_numbers)}"
        super().__init__(
            app,
            folder,
            broker_url=broker_url,
            command=["beat", "--loglevel", "INFO", "--pidfile=", "--schedule", str(schedule), *arguments],
            database_url=database_url,
            result_backend=result_backend,
            env=env,
        )

    def stop(self, timeout: float = END_SECONDS) -> int:
        """Shut down, asked again where need be: Celery's beat forgets a signal that meets it while it publishes.

        Its handler closes the connection under redis-py, whose error then takes the place of the exit.
        """
        for _ in range(3):
            self.signal(signal.SIGTERM)
            with suppress(AssertionError):
                return self.wait_ended(timeout / 3)
        return self.wait_ended(0)


def _environment(urls: Mapping[str, str | None], temporary: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment with exactly these URLs, our source on the path, and `extra` on top."""
    inherited = {name: value for name, value in os.environ.items() if name not in urls}
    path = os.pathsep.join(filter(None, (str(SOURCE), inherited.get("PYTHONPATH"))))
    ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)}
    given = {name: url for name, url in urls.items() if url is not None}
    return inherited | ours | given | dict(extra)


def _group(leader: int) -> list[psutil.Process]:
    """The processes of a group, also those whose parent has ended."""
    return [process for process in psutil.process_iter() if _group_id(process.pid) == leader]


def _group_id(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
