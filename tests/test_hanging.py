"""A worker that hangs costs a run three tests' patience, and CI runs its tests once more."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from redis import Redis

ROOT = Path(__file__).parents[1]

HANGS = """
import threading, pytest

threading.Thread(target=threading.Event().wait, name="the worker", daemon=True).start()

@pytest.mark.xdist_group("stuck")
@pytest.mark.parametrize("number", range(5))
def test_waits_in_vain(number):
    assert number > 5

@pytest.mark.parametrize("number", range(5))
def test_shares_nothing(number):
    assert number == 4
"""


def test_a_group_whose_worker_hangs_is_given_up_and_the_threads_are_shown(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.hanging", "-c", "/dev/null"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert "7 failed, 1 passed, 2 errors" in done.stdout
    assert done.stdout.count("3 tests of 'stuck' failed one after the other: not run") >= 2
    assert "the worker:" in done.stdout
    assert "END OF THREADS" in done.stdout


def test_what_celery_calls_of_redis_warns_nobody_while_filters_are_set(valkey: str) -> None:
    with Redis.from_url(valkey) as client, client.pipeline() as pipe, warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.setex("tests.warned", 60, "x")
        pipe.delete("tests.warned")
        assert pipe.execute() == [True, 1]


@pytest.mark.parametrize(
    ("failed", "again"),
    [
        (["tests/a.py::test_x[a b]", "tests/a.py::test_y"], ["tests/a.py::test_x[a b]", "tests/a.py::test_y"]),
        ([f"tests/a.py::test_x[{n}]@callers" for n in range(9)], [f"tests/a.py::test_x[{n}]" for n in range(9)]),
        ([f"tests/a.py::test_x[{n}]" for n in range(4)], None),
        (["tests/a.py::test_x[me@home]"], ["tests/a.py::test_x[me@home]"]),
        ([*[f"tests/a.py::test_{n}@{n}" for n in "bcd"], "tests/a.py::test_e"], None),
    ],
    ids=["few", "of one worker", "many", "an address", "of many workers"],
)
def test_few_failures_are_run_once_more(tmp_path: Path, failed: list[str], again: list[str] | None) -> None:
    record = tmp_path / "lastfailed"
    record.write_text(json.dumps(dict.fromkeys(failed, True)))
    command = [sys.executable, str(ROOT / ".ci" / "failed"), str(record)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()) == ((0, again) if again else (1, []))
