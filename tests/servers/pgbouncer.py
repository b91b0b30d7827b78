"""A PgBouncer of the tests' own in front of a PostgreSQL server, where it is installed (Debian: pgbouncer)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import make_url

from celery_jobs.demo.valkey import HOST, free_port, tied_to_parent
from tests.servers.postgres import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

START_SECONDS = 20.0
STOP_SECONDS = 20.0
PLACES = ("/usr/sbin", "/usr/bin", "/usr/local/bin")
UNPRIVILEGED = "nobody"

CONFIGURATION = """
[databases]
* = {login}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
"""


@contextmanager
def start_pgbouncer(folder: Path, server_url: str, sessions: int = 4) -> Iterator[str]:
    """Start one in transaction mode, with so many sessions a database, and give its URL; raises ServerUnavailable."""
    program, port, server = _program(), free_port(), make_url(server_url)
    configuration, log = _write_configuration(server, port, sessions), folder / "pgbouncer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            tied_to_parent([str(program), str(configuration)], signal.SIGINT, user=_user()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = server.set(host=HOST, port=port, database="postgres").render_as_string(hide_password=False)
        _await(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
        shutil.rmtree(configuration.parent)


def _write_configuration(server: URL, port: int, sessions: int) -> Path:
    """Where the pooler's user can read it, which cannot enter the tests' own folders."""
    folder = Path(tempfile.mkdtemp(prefix="celery-jobs-pgbouncer-"))
    folder.chmod(0o755)
    login = {"host": server.host, "port": server.port or 5432, "user": server.username, "password": server.password}
    words = " ".join(f"{name}={value}" for name, value in login.items() if value is not None)
    file = folder / "pgbouncer.ini"
    file.write_text(CONFIGURATION.format(login=words, host=HOST, port=port, sessions=sessions))
    return file


def _program() -> Path:
    found = [Path(place, "pgbouncer") for place in PLACES if Path(place, "pgbouncer").exists()]
    on_path = shutil.which("pgbouncer")
    if not found and on_path is None:
        raise ServerUnavailable("pgbouncer is not installed; on Debian: apt-get install pgbouncer")
    return found[0] if found else Path(str(on_path))


def _user() -> str:
    """The user to run as: PgBouncer refuses root; empty means oneself."""
    return UNPRIVILEGED if os.geteuid() == 0 else ""


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise ServerUnavailable(f"PgBouncer did not start: {log.read_text(errors='replace')[-2000:]}")
