from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from redis import Redis

from tests.processes import Beat, Worker, is_running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

APP = """
from celery import Celery

app = Celery("plain")
app.conf.broker_connection_retry_on_startup = True
app.conf.beat_schedule = {"often": {"task": "add", "schedule": 0.2, "args": (1, 2)}}


@app.task(name="add")
def add(x, y):
    print(f"sum {x + y}")
    return x + y
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plain.py").write_text(APP)
    return tmp_path


def test_beat_sends_and_a_killed_worker_leaves_nothing(folder: Path, broker_url: str) -> None:
    with (
        Worker("plain:app", folder, broker_url=broker_url, result_backend=broker_url, concurrency=2) as worker,
        Beat("plain:app", folder, broker_url=broker_url) as beat,
    ):
        worker.wait_ready()
        beat.wait_ready()
        wait_until(lambda: "sum 3" in worker.log, message="no task ran", process=worker)
        wait_until(lambda: _results(broker_url), message="no result", process=worker)
        pids = [worker.pid, *worker.children(), beat.pid]
        assert len(worker.children()) == 2
        worker.kill()
        assert worker.process.returncode == -signal.SIGKILL
    assert not [pid for pid in pids if _runs(pid)]


def test_a_worker_stops_warm(folder: Path, broker_url: str) -> None:
    with Worker("plain:app", folder, broker_url=broker_url, pool="solo", queues=["one", "two"]) as worker:
        assert worker.wait_ready().children() == []
        assert ".> one" in worker.log
        assert ".> two" in worker.log
        assert worker.stop() == 0


def test_the_pool_of_a_worker_that_died_alone_is_killed_too(folder: Path, broker_url: str) -> None:
    with Worker("plain:app", folder, broker_url=broker_url).wait_ready() as worker:
        children = worker.children()
        assert children
        worker.signal(signal.SIGSTOP)
        worker.signal(signal.SIGKILL)
        worker.wait_ended()
    assert not [pid for pid in children if _runs(pid)]


def test_a_worker_that_cannot_start_says_so(folder: Path, broker_url: str) -> None:
    with (
        Worker("missing:app", folder, broker_url=broker_url) as worker,
        pytest.raises(AssertionError, match=r"(?s)exit code 2.*No module named 'missing'"),
    ):
        worker.wait_ready()


def test_waiting_in_vain_tells_why() -> None:
    with pytest.raises(AssertionError, match=r"nothing came \(waited 0.1 s\)"):
        wait_until(lambda: False, timeout=0.05, message=lambda: "nothing came")


def _results(url: str) -> object:
    with Redis.from_url(url) as client:
        return client.keys("celery-task-meta-*")


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and is_running(psutil.Process(pid))
