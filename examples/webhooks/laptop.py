"""Everything on one laptop: a broker if none answers, a worker, and a receiver to play with. Not to be copied."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis

from celery_jobs.demo.valkey import start_valkey
from webhooks.app import QUEUE, app
from webhooks.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["running"]

FOLDER = Path(".data/webhooks")
NAME = "webhooks@localhost"


@contextmanager
def running(port: int) -> Iterator[Receiver]:
    """Run it all, with the receiver on a port; leaving the context ends it."""
    with ExitStack() as stack:
        if not _broker_answers():
            stack.enter_context(start_valkey(FOLDER, urlsplit(app.conf.broker_url).port))
        receiver = stack.enter_context(Receiver(app.conf.jobs_callback_secrets, port))
        Thread(target=receiver.serve_forever, daemon=True).start()
        stack.callback(receiver.shutdown)
        stack.enter_context(_worker())
        yield receiver


def _broker_answers() -> bool:
    try:
        with redis.Redis.from_url(app.conf.broker_url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def _worker() -> Iterator[None]:
    """A worker, ready; its log is in `.data/webhooks/worker.log`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = ["-m", "celery", "-A", "webhooks.app", "worker", "-Q", QUEUE, "-n", NAME, "-c", "4", "--loglevel", "INFO"]
    with (FOLDER / "worker.log").open("w") as log:
        worker = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
    try:
        while not app.control.ping([NAME], timeout=0.5):
            if worker.poll() is not None:
                raise RuntimeError(f"the worker ended at once; see {log.name}")
        yield
    finally:
        worker.terminate()
        worker.wait()
