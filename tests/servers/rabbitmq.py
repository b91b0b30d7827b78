"""A RabbitMQ node of the tests' own, where its server is installed (Debian: rabbitmq-server)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kombu import Connection

from celery_jobs.demo.valkey import HOST, free_port, tied_to_parent
from tests.servers.postgres import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60.0
STOP_SECONDS = 20.0
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/lib/rabbitmq/bin", "/opt/rabbitmq/sbin")


@contextmanager
def start_rabbitmq(folder: Path) -> Iterator[str]:
    """Start a node with its data in `folder`, and give its URL; raises ServerUnavailable."""
    server, epmd = _server(), free_port()
    port = free_port()
    environment = _environment(folder, port, epmd)
    with (folder / "rabbitmq.log").open("wb") as log:
        process = subprocess.Popen(
            tied_to_parent([str(server)], signal.SIGTERM),
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        url = f"amqp://guest:guest@{HOST}:{port}//"
        _await(url, process, folder)
        yield url
    finally:
        _stop(process, epmd)


def _server() -> Path:
    found = [Path(place, "rabbitmq-server") for place in PLACES if Path(place, "rabbitmq-server").exists()]
    on_path = shutil.which("rabbitmq-server")
    if not found and on_path is None:
        raise ServerUnavailable("rabbitmq-server is not installed; on Debian: apt-get install rabbitmq-server")
    return found[0] if found else Path(str(on_path))


def _environment(folder: Path, port: int, epmd: int) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "RABBITMQ_NODENAME": f"jobs{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }


def _await(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with Connection(url, connect_timeout=1) as connection:
                connection.ensure_connection(max_retries=0, interval_start=0)
            return
        except Exception:
            time.sleep(0.1)
    said = (folder / "rabbitmq.log").read_text(errors="replace")[-2000:]
    raise ServerUnavailable(f"RabbitMQ did not start within {START_SECONDS:g} s:\n{said}")


def _stop(process: subprocess.Popen[bytes], epmd: int) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    daemon = shutil.which("epmd")
    if daemon is not None:  # Erlang leaves its port mapper behind
        _end_port_mapper([daemon, "-port", str(epmd), "-kill"])


def _end_port_mapper(command: list[str]) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if "living nodes" not in said.stdout + said.stderr:
            return
        time.sleep(0.1)
