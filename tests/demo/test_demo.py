"""The demo as a newcomer runs it: a real process, its screen, its end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_jobs.demo.folder import DATABASE, FolderRefused, claimed
from celery_jobs.demo.valkey import free_port

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60
STORIES = (
    "works at once",
    "works at last",
    "dies and comes back",
    "is one job",
    "survives its process",
    "starts on time",
    "waits in SQL",
)
LEFT_BEHIND = {".celery-jobs-demo", DATABASE, "beat.log", "flower.log", "tour.log", "valkey.log", "worker.log"}


@pytest.mark.slow
def test_the_tour_keeps_every_promise_and_leaves_no_process_behind(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    tour = run_demo("--exit", "--data", str(data), "--port", str(free_port()))

    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert tour.stderr == ""
    for number, story in enumerate(STORIES, 1):
        assert f"{number} {story}: as promised" in tour.stdout
    assert "Every job ended as promised" in tour.stdout
    assert processes_using(data) == []
    assert {file.name for file in data.iterdir()} == LEFT_BEHIND


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text("precious")
    tour = run_demo("--exit", "--data", str(tmp_path))

    assert tour.returncode == 1
    assert "is not empty and not made by the demo" in tour.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["worker.log"]


def test_an_earlier_run_is_emptied_and_what_is_not_of_its_kind_stays(tmp_path: Path) -> None:
    with claimed(tmp_path / "demo") as folder:
        (folder / "worker.log").touch()
        (folder / "notes.txt").touch()
    with claimed(folder):
        assert {file.name for file in folder.iterdir()} == {".celery-jobs-demo", "notes.txt"}


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "demo") as folder,
        pytest.raises(FolderRefused, match="another demo is running"),
        claimed(folder),
    ):
        pass


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "celery_jobs", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def processes_using(folder: Path) -> list[list[str]]:
    """The command lines of this user's processes whose environment or arguments name the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and str(folder) in words:
            found.append(process.cmdline())
    return found
