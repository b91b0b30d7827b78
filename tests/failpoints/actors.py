"""Processes of a case: a worker, or whoever does one thing; armed with a failpoint or not.

They are forked from a server that has imported everything: a process takes 20 ms, not a second.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from celery.concurrency import asynpool

from celery_jobs import failpoints
from celery_jobs.store import postgresql
from tests.failpoints.shop import HANG_SECONDS, Place, make_shop
from tests.processes import END_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery

for module in (
    *("celery.apps.worker", "celery.app.control", "celery.app.events", "celery.app.log", "celery.backends.redis"),
    *("celery.concurrency.prefork", "celery.concurrency.solo", "celery.fixups.django", "celery.loaders.app"),
    *("celery.worker.autoscale", "celery.worker.components", "celery.worker.consumer", "celery.worker.strategy"),
    *("kombu.transport.redis", "psycopg", "celery_jobs.jobs", "celery_jobs.services", "celery_jobs.store.migrations"),
    *("celery_jobs.worker.refusals", "celery_jobs.worker.step"),
):
    import_module(module)  # here, in the server that forks, not in every process of its own

FROZEN_CLIENT_MS = 700
"""Of who is armed: the server gives it up while it hangs."""

LOOK_SECONDS = 0.1
"""Between two looks of a pool for children that are gone; Celery's are 5 s apart."""

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.failpoints.actors"])


class Actor:
    """A process of its own group; leaving the context ends what is left of it."""

    def __init__(
        self, name: str, place: Place, play: Callable[..., None], *args: Any, fault: str | None = None
    ) -> None:
        self.name = name
        self.folder = place.folder
        self.struck_file = place.folder / f"{name}.struck"
        self.outcome_file = place.folder / f"{name}.outcome"
        arms = {} if fault is None else self._arms(fault)
        self.process = _forks.Process(target=_enter, args=(place.folder / f"{name}.log", arms, play, place, *args))
        self.process.start()

    def _arms(self, fault: str) -> dict[str, str]:
        return {
            "CELERY_JOBS_FAILPOINT": fault,
            "CELERY_JOBS_FAILPOINT_STRUCK": str(self.struck_file),
            "CELERY_JOBS_FAILPOINT_SECONDS": str(HANG_SECONDS),
        }

    @property
    def pid(self) -> int:
        """The process id of the process itself, not of its pool."""
        assert self.process.pid is not None
        return self.process.pid

    def wait_struck(self) -> None:
        """Wait until it has come to its failpoint; a case that never does is void."""
        wait_until(self.struck_file.exists, message=lambda: f"the failpoint was not reached{self.tail()}")

    def wait_ended(self) -> int:
        """Wait for its end; gives the exit code."""
        self.process.join(END_SECONDS)
        if self.process.exitcode is None:
            self._show_stacks()
        assert self.process.exitcode is not None, f"{self.name} does not end{self.tail()}"
        return self.process.exitcode

    def _show_stacks(self) -> None:
        """Let it and its children write where each of their threads is."""
        os.killpg(self.pid, signal.SIGUSR2)
        self.process.join(1)

    def ask_to_stop(self) -> None:
        """Let a worker finish what it runs, take nothing more, and end."""
        os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> int:
        """The same, and wait for it; gives the exit code."""
        self.ask_to_stop()
        return self.wait_ended()

    def outcome(self) -> Any:
        """What it returned; None where it did not come to that. An error that it raised fails the case."""
        if not self.outcome_file.exists():
            return None
        said = json.loads(self.outcome_file.read_text())
        assert "raised" not in said, said["raised"] + self.tail()
        return said["returned"]

    def tail(self) -> str:
        """The last of its output."""
        log = self.folder / f"{self.name}.log"
        return f"\n--- {self.name}\n{log.read_text(errors='replace')[-6000:] if log.exists() else ''}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.join()
        self.process.close()
        if kind is not None:
            print(self.tail())


def _enter(log: Path, arms: dict[str, str], play: Callable[..., None], *args: Any) -> None:
    """Become a process as if it had been started from a shell, with these variables."""
    os.setsid()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    faulthandler.register(signal.SIGUSR2)
    os.environ.update(arms)
    if arms:
        postgresql.FROZEN_CLIENT_MS = FROZEN_CLIENT_MS
    failpoints.arm()
    play(*args)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)


def serve(place: Place, pool: str, knows_work: bool) -> None:
    """Be a worker."""
    asynpool.AsynPool.timers = property(lambda pool: {pool.maintain_pool: LOOK_SECONDS})
    app = make_shop(place, knows_work)
    app.Worker(
        pool_cls=pool,
        concurrency=1,
        hostname=f"worker-{os.getpid()}@here",
        loglevel="INFO",
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    ).start()


def perform(place: Place, name: str, act: Callable[[Celery], object]) -> None:
    """Do one thing, and leave word of what it gave."""
    try:
        said = {"returned": act(make_shop(place))}
    except Exception as error:
        said = {"raised": repr(error)}
    file = place.folder / f"{name}.outcome"
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps(said))
    unfinished.rename(file)
