"""One contender in one run: an empty broker, its tables, its producers and workers as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import history, tally
from benchmarks.contenders import OURS, PEERS
from benchmarks.environments import bin_of
from benchmarks.stage import dsn_of, query
from celery_jobs.demo.valkey import tied_to_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.contenders import Peer
    from benchmarks.stage import Stage

__all__ = ["Entrant", "Failed", "entered"]

ROOT = Path(__file__).resolve().parent.parent
POLL = 0.02
START_SECONDS, PROGRAM_SECONDS = 60.0, 1800.0


class Failed(RuntimeError):
    """A run came to nothing; the text says why, with the last words of the process."""


@dataclass(slots=True)
class Entrant:
    """A contender that is set up. `database`: its URL, empty where it uses none."""

    peer: Peer
    folder: Path
    broker: str
    database: str

    @property
    def runs(self) -> int:
        """How many no-ops have run."""
        return tally.runs(self.folder)

    @property
    def timed(self) -> int:
        """How many timed tasks have run."""
        return tally.noted(self.folder)

    def program(self, *arguments: object) -> dict[str, float]:
        """Run the peer's program to its end; gives what it said."""
        process = self._program(*arguments)
        try:
            said, _ = process.communicate(timeout=PROGRAM_SECONDS)
        finally:
            _end(process)
        if process.returncode:
            raise Failed(f"{self.peer.module} {arguments[0]} ended with {process.returncode}: {self._last_words()}")
        answer: dict[str, float] = json.loads(said.splitlines()[-1])
        return answer

    @contextmanager
    def producing(self, *arguments: object) -> Iterator[None]:
        """Run the peer's program beside, from when it says its first word until it is ended here."""
        process = self._program(*arguments)
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise Failed(f"{self.peer.module} {arguments[0]} ended at once: {self._last_words()}")
            yield
        finally:
            _end(process)

    @contextmanager
    def working(self, *more: str) -> Iterator[list[int]]:
        """The workers, killed at the end; gives their process ids."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.process(*self.peer.worker, *more)).pid for _ in range(self.peer.processes)]

    @contextmanager
    def process(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A program of its environment, killed with its children at the end."""
        command = [argument.replace("{broker}", self.broker) for argument in (program, *arguments)]
        process = self._start(command)
        try:
            yield process
        finally:
            _end(process)

    def await_runs(self, count: int, patience: float = START_SECONDS) -> bool:
        """Wait until so many no-ops have run; False where they have not within `patience` s."""
        return await_until(lambda: self.runs >= count, patience)

    def require_runs(self, count: int) -> None:
        """The same; raises Failed with what the workers said."""
        if not self.await_runs(count):
            raise Failed(f"{self.peer.name}: {self.runs:,} of {count:,} jobs have run: {self._last_words()}")

    def _program(self, *arguments: object) -> subprocess.Popen[str]:
        words = [str(argument) for argument in arguments]
        return self._start(["python", "-m", "benchmarks.peers.program", self.peer.module, *words])

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        program = bin_of(self.peer) / command[0]
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                tied_to_parent([str(program), *command[1:]], signal.SIGKILL),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if "benchmarks.peers.program" in command else log,
                stderr=log,
                start_new_session=True,
                text=True,
            )

    def _environment(self) -> dict[str, str]:
        paths = [str(ROOT), *([] if self.peer.packages else [str(ROOT / "src")])]
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "BENCHMARK_BROKER_URL": self.broker,
            "BENCHMARK_DATABASE_URL": self.database,
            "BENCHMARK_DSN": dsn_of(self.database) if self.database else "",
            tally.FOLDER: str(self.folder),
            **self.peer.variables,
        }

    def _last_words(self) -> str:
        log = self.folder / "log.txt"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else "(no word)"


def await_until(condition: Callable[[], Any], patience: float, every: float = POLL) -> bool:
    """Whether a condition comes true within `patience` s, looked at every so many seconds."""
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


@contextmanager
def entered(stage: Stage, name: str, rows: int, database: str = "") -> Iterator[Entrant]:
    """Set a contender up: ours in a database with so many rows of history or the caller's, a peer in an empty one."""
    peer, begun = PEERS[name], datetime.now(UTC)
    kept = name == OURS and not database
    with ExitStack() as stack:
        if peer.has_database and not database:
            database = stage.database_with(rows) if name == OURS else stack.enter_context(stage.database())
        entrant = Entrant(peer, stage.new_folder(), stage.empty_broker(), database)
        if name != OURS:
            entrant.program("prepare")
        try:
            yield entrant
        finally:
            if kept:
                tidy(database, begun)


def tidy(database: str, begun: datetime) -> None:
    """Take away all that a run has left, so that the next one in this database finds only history.

    History is more than an hour older than the run that it was made in (see `mixes`), and its ids tell.
    """
    since = {"since": history.first_id(begun - timedelta(hours=1))}
    query(database, "DELETE FROM jobs WHERE id >= %(since)s", since)
    query(database, "DELETE FROM messages WHERE id >= %(since)s", since)
    for statement in ("TRUNCATE workers, services, alerts", "VACUUM jobs", "VACUUM messages"):
        query(database, statement)


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
