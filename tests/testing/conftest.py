"""An app whose broker, result server and database nobody can reach, and its sandbox."""

from __future__ import annotations

import gc
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.testing import Sandbox

NOWHERE = "redis://127.0.0.1:1/0"
NO_FILE = "sqlite:////nowhere/jobs.sqlite3"


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The addresses that were tried: none at all, or the test fails."""
    addresses: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        addresses.append(address)
        raise ConnectionRefusedError(f"a sandbox has no network, and {address} was tried")

    gc.disable()  # the results of other tests say goodbye to their server when they are collected
    monkeypatch.setattr(socket.socket, "connect", connect)
    yield addresses
    gc.enable()
    assert addresses == []


@pytest.fixture
def app() -> Celery:
    """An app with the documented delays."""
    return make_app(NOWHERE, NO_FILE, jobs_queue_defaults={"retry_delays": [60, 1800, 10800]})


@pytest.fixture
def sandbox(app: Celery, jobs_sandbox: Callable[[Celery], Sandbox]) -> Sandbox:
    return jobs_sandbox(app)
