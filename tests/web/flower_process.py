"""Flower as a process of its own, by the plain command, to be killed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from celery_jobs.demo.valkey import free_port
from tests.processes import SOURCE, CeleryProcess, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FlowerProcess", "running"]


class FlowerProcess(CeleryProcess):
    """A `celery flower`."""

    ready_line: ClassVar[str] = "Connected to"
    tied_by = Worker.tied_by


Running = tuple[FlowerProcess, httpx.Client]


@contextmanager
def running(
    folder: Path, broker_url: str, database_url: str, *options: str
) -> Iterator[tuple[FlowerProcess, httpx.Client]]:
    port = free_port()
    command = ["flower", "--address=127.0.0.1", f"--port={port}", f"--db={folder}/flower", *options]
    urls: Any = {"broker_url": broker_url, "database_url": database_url}
    urls["env"] = {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])}
    base = f"http://127.0.0.1:{port}"
    with (
        FlowerProcess("tests.web.shop", folder, command=command, **urls) as process,
        httpx.Client(base_url=base, trust_env=False, timeout=20) as client,
    ):
        process.wait_ready(30)
        yield process, client
