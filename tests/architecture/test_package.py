"""The package as it is handed out: importing it asks nobody anything, and building it twice gives the same."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import celery_jobs

ROOT = Path(celery_jobs.__file__).parents[2]

OFFLINE = """
import importlib, pkgutil, socket

def refuse(*_, **__):
    raise AssertionError("the network is asked while modules are imported")

for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse

import celery_jobs

names = [found.name for found in pkgutil.walk_packages(celery_jobs.__path__, "celery_jobs.")]
for name in names:
    if not name.endswith("__main__") and ".migrations.env" not in name:
        importlib.import_module(name)
print(len(names))
"""


def test_importing_asks_nothing_of_the_network() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


@pytest.mark.matrix
def test_a_wheel_that_is_built_twice_is_the_same(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / name), str(ROOT)]
        subprocess.run(command, check=True, timeout=100)
        [wheel] = (tmp_path / name).iterdir()
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert len(digests) == 1
