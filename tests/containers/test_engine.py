"""The engine itself: what is removed is gone, and Docker that is asked for and not there is said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.containers.engine import ENGINE_VARIABLE, Engine, chosen_engine, connected
from tests.processes import is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARENT = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "engine")
    yield engine
    engine.close()


def test_docker_that_is_asked_for_and_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(pytest.fail.Exception, match=f"{ENGINE_VARIABLE}=docker asks for Docker"), connected():
        pass


def test_an_engine_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "podman")
    with pytest.raises(pytest.fail.Exception, match="known are processes and docker"):
        chosen_engine()


def test_killing_a_container_ends_what_its_command_started_too(engine: Engine) -> None:
    container = engine.containers.run(image="any", command=["python", "-c", PARENT])
    child = psutil.Process(int(wait_until(container.logs)))
    container.kill()
    container.reload()
    assert container.status == "exited"
    assert not is_running(child)


def test_a_closed_engine_leaves_no_process_and_no_file(engine: Engine) -> None:
    volume = engine.volumes.create("shared")
    container = engine.containers.run(
        image="any", command=["python", "-c", PARENT], volumes={volume.name: {"bind": "/app", "mode": "rw"}}
    )
    child = psutil.Process(int(wait_until(container.logs)))
    engine.close()
    assert not is_running(child)
    assert not engine.folder.exists()
