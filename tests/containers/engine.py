"""The tests' container engine: Docker where it is asked for, else processes behind the face of Docker's client.

pytest-celery reaches its containers through one fixture, pytest-docker-tools' `docker_client`. An `Engine` in its place
answers what these two call on it; their vendors and fixtures are the stock ones. A build makes no image: the programs
of the containers run with this interpreter and its packages, and redis-server is the tests' Valkey, always a server of
their own, whatever CELERY_JOBS_TEST_REDIS_URL says: these stories kill it.

CELERY_JOBS_TEST_ENGINE=docker gives the stock client, and the same tests run in Docker's containers. That way was
written against the sources of pytest-celery 1.3, pytest-docker-tools 3.1 and docker-py 7.2, and has not been run: the
client's connection, the worker's image (Dockerfile), PostgreSQL's container (vendors.py), `exec_run` in a container.
"""

from __future__ import annotations

import gc
import os
import shutil
import uuid
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import docker
import pytest
from docker.errors import DockerException
from pytest_docker_tools.exceptions import TimeoutError as ContainerTimeout

from tests.containers.process import ProcessContainer
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["ENGINE_VARIABLE", "Engine", "chosen_engine", "connected", "patience"]

ENGINE_VARIABLE = "CELERY_JOBS_TEST_ENGINE"
ENGINES = ("processes", "docker")

WAITERS = (
    "pytest_docker_tools.factories.container",
    "pytest_docker_tools.wrappers.container",
    "pytest_celery.api.container",
    "pytest_celery.api.base",
)
"""The modules that have `wait_for_callable`."""


def chosen_engine() -> str:
    """What the environment asks for: docker, or processes, which is the default."""
    engine = os.environ.get(ENGINE_VARIABLE) or ENGINES[0]
    if engine not in ENGINES:
        pytest.fail(f"{ENGINE_VARIABLE} is {engine!r}; known are {' and '.join(ENGINES)}", pytrace=False)
    return engine


@contextmanager
def connected() -> Iterator[Any]:
    """Docker's own client; the test fails, and says why, where no engine answers it."""
    client, reason = _connect()
    if client is None:
        pytest.fail(
            f"{ENGINE_VARIABLE}=docker asks for Docker, and no engine answers: {reason}. "
            "Start one, or unset the variable to run these tests with processes.",
            pytrace=False,
        )
    try:
        yield client
    finally:
        client.close()


def _connect() -> tuple[Any, str]:
    """The client, or why there is none."""
    with warnings.catch_warnings():
        # docker-py leaves its socket open where nobody answers.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env()
            client.ping()
        except DockerException as error:
            reason = str(error)
        else:
            return client, ""
        gc.collect()
    return None, reason


@contextmanager
def patience() -> Iterator[None]:
    """Processes start at once: look whether they are ready many times a second, and at this machine's ports.

    pytest-docker-tools looks once a second, and takes a test run inside a container for one beside its own containers.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in WAITERS:
            patch.setattr(import_module(name), "wait_for_callable", _wait)
        patch.setattr("pytest_docker_tools.wrappers.container.tests_inside_container", lambda: False)
        yield


def _wait(message: str, func: Callable[[], Any], timeout: float = 30) -> None:
    try:
        wait_until(func, timeout, message)
    except AssertionError as error:
        raise ContainerTimeout(str(error)) from error


@dataclass(slots=True)
class Volume:
    """A folder that containers share."""

    name: str
    folder: Path

    def remove(self, force: bool = False) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder)


@dataclass(slots=True)
class Network:
    """A name and no more: all processes of a machine reach each other."""

    name: str

    def remove(self) -> None:
        """Nothing is there to delete."""


@dataclass(slots=True)
class Volumes:
    """`client.volumes`."""

    folder: Path
    made: dict[str, Volume] = field(default_factory=dict)

    def create(self, name: str, **_: Any) -> Volume:
        """Make an empty folder."""
        volume = self.made[name] = Volume(name, self.folder / name)
        volume.folder.mkdir(parents=True)
        return volume


class Networks:
    """`client.networks`."""

    def create(self, name: str, **_: Any) -> Network:
        """Make a name."""
        return Network(name)


class Images:
    """`client.images`."""

    def build(self, **_: Any) -> tuple[Any, list[dict[str, str]]]:
        """Make no image: what it would hold is installed here."""
        return SimpleNamespace(id="this-machine"), []


@dataclass(slots=True)
class Containers:
    """`client.containers`."""

    folder: Path
    volumes: Volumes
    made: list[ProcessContainer] = field(default_factory=list)

    def run(self, **options: Any) -> ProcessContainer:
        """Make a container and start it."""
        container = self.create(**options)
        container.start()
        return container

    def create(
        self,
        image: str,
        command: Sequence[str] = (),
        volumes: Mapping[str, Mapping[str, str]] | None = None,
        detach: bool = True,
        **options: Any,
    ) -> ProcessContainer:
        """Make a container; `volumes` are named, each with the path that it is bound to."""
        mounts = {bound["bind"]: self.volumes.made[name].folder for name, bound in (volumes or {}).items()}
        folder = self.folder / uuid.uuid4().hex
        container = ProcessContainer(folder, command, mounts=mounts, **options)
        self.made.append(container)
        return container


class Engine:
    """The part of docker.client.DockerClient that pytest-celery and pytest-docker-tools use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = Images()
        self.networks = Networks()
        self.volumes = Volumes(folder / "volumes")
        self.containers = Containers(folder / "containers", self.volumes)

    def close(self) -> None:
        """End what still runs and delete every file."""
        for container in self.containers.made:
            if container.folder.exists():
                container.remove(force=True)
        shutil.rmtree(self.folder, ignore_errors=True)
