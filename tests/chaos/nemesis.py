"""The faults: each strikes, lasts, and is healed before it returns. A seed draws them, all kinds in turn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from redis import Redis

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.chaos.stage import Stage
    from tests.processes import CeleryProcess, Worker

__all__ = ["FAULTS", "OF_DATABASE", "strike"]

READY_SECONDS = 60
GRACE_SECONDS = 10


def strike(stage: Stage, draw: random.Random, until: float) -> None:
    """Strike with one fault after another until the moment; every kind comes before any comes again."""
    names = [name for name in stage.plan.faults or DECK if stage.db is not None or name not in OF_DATABASE]
    deck: list[str] = []
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, draw.uniform(*stage.plan.pause)))
        stage.supervise()
        if not deck:
            deck = draw.sample(names, len(names))
        name = deck.pop()
        FAULTS[name](stage, draw, name)


@contextmanager
def noted(stage: Stage, name: str, *pids: int) -> Iterator[None]:
    """Write a fault and its end into the log. `pids`: the processes that are killed or stopped."""
    stage.log.write("fault", "on", fault=name, pids=pids)
    try:
        yield
    finally:
        stage.log.write("fault", "off", fault=name)


def _some_worker(stage: Stage, draw: random.Random) -> tuple[int, Worker]:
    slot = draw.choice(sorted(stage.workers))
    return slot, stage.workers[slot]


def _kill_child(stage: Stage, draw: random.Random, name: str) -> None:
    children = [child for worker in stage.workers.values() for child in worker.children()]
    if children:
        child = draw.choice(children)
        with noted(stage, name, child), suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _kill_worker(stage: Stage, draw: random.Random, name: str) -> None:
    slot, worker = _some_worker(stage, draw)
    with noted(stage, name, worker.pid, *worker.children()):
        worker.kill()
        time.sleep(draw.uniform(0, 1))
        _replace(stage, slot)


def _replace(stage: Stage, slot: int) -> None:
    stage.workers[slot] = stage.new_worker(slot)
    stage.workers[slot].wait_ready(READY_SECONDS)


def _stop_worker(stage: Stage, draw: random.Random, name: str) -> None:
    """Longer than its silence is borne: its jobs go to others, and then it wakes."""
    _, worker = _some_worker(stage, draw)
    with noted(stage, name, worker.pid, *worker.children()), _stopped(worker):
        time.sleep(draw.uniform(3.2, 5))


def _stop_worker_shortly(stage: Stage, draw: random.Random, name: str) -> None:
    _, worker = _some_worker(stage, draw)
    with noted(stage, name, worker.pid, *worker.children()), _stopped(worker):
        time.sleep(draw.uniform(0.3, 1.5))


@contextmanager
def _stopped(process: CeleryProcess) -> Iterator[None]:
    pids = [process.pid]
    _send(pids, signal.SIGSTOP)
    pids += process.children()
    _send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(pids, signal.SIGCONT)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _roll_workers(stage: Stage, draw: random.Random, name: str) -> None:
    """A deploy: each worker's successor is up before it is asked to end."""
    with noted(stage, name):
        for slot, old in list(stage.workers.items()):
            try:
                _replace(stage, slot)
                old.signal(signal.SIGTERM)
                _await_end(stage, old)
            finally:
                old.kill()


def _await_end(stage: Stage, worker: Worker) -> None:
    """Longer than any job may take; what has not ended then is about to be killed."""
    with suppress(subprocess.TimeoutExpired):
        worker.process.wait(GRACE_SECONDS)
        return
    stage.log.write("fault", "on", fault="a worker outlived SIGTERM", pids=[worker.pid, *worker.children()])


def _kill_beat(stage: Stage, draw: random.Random, name: str) -> None:
    assert stage.beat is not None
    with noted(stage, name):
        stage.beat.kill()
        time.sleep(draw.uniform(1, 4))
        stage.beat = stage.new_beat()


def _two_beats(stage: Stage, draw: random.Random, name: str) -> None:
    with noted(stage, name), stage.new_beat():
        time.sleep(draw.uniform(3, 5))


def _kill_producer(stage: Stage, draw: random.Random, name: str) -> None:
    index = draw.randrange(len(stage.producers))
    process = stage.producers[index].process
    if process.poll() is None:
        with noted(stage, name):
            process.kill()
            process.wait()
            stage.replace_producer(index)


def _kill_broker(stage: Stage, draw: random.Random, name: str) -> None:
    with noted(stage, name):
        stage.valkey.kill()
        time.sleep(draw.uniform(0, 2))
        stage.valkey.restart()


def _wipe_broker(stage: Stage, draw: random.Random, name: str) -> None:
    with noted(stage, name):
        stage.valkey.kill()
        shutil.rmtree(stage.valkey.folder / "appendonlydir", ignore_errors=True)
        time.sleep(draw.uniform(0, 2))
        stage.valkey.restart()


def _empty_broker(stage: Stage, draw: random.Random, name: str) -> None:
    with noted(stage, name), Redis.from_url(stage.valkey.url) as client:
        client.flushall()


def _kill_results(stage: Stage, draw: random.Random, name: str) -> None:
    with noted(stage, name):
        stage.results.kill()
        time.sleep(draw.uniform(0, 2))
        stage.results.restart()


def _freeze_broker(stage: Stage, draw: random.Random, name: str) -> None:
    with noted(stage, name):
        _send([stage.valkey.process.pid], signal.SIGSTOP)
        try:
            time.sleep(draw.uniform(1, 3))
        finally:
            _send([stage.valkey.process.pid], signal.SIGCONT)


def _freeze_proxy(stage: Stage, draw: random.Random, name: str) -> None:
    """The workers' connections to the broker are up, and nothing comes over them."""
    with noted(stage, name), stage.proxy.frozen():
        time.sleep(draw.uniform(2, 5))


def _kill_database(stage: Stage, draw: random.Random, name: str) -> None:
    assert stage.postgres is not None
    with noted(stage, name):
        stage.postgres.kill()
        time.sleep(draw.uniform(0, 2))
        stage.postgres.restart()


def _freeze_database(stage: Stage, draw: random.Random, name: str) -> None:
    assert stage.postgres is not None
    with noted(stage, name), stage.postgres.frozen():
        time.sleep(draw.uniform(0.5, 3))


def _duplicate_messages(stage: Stage, draw: random.Random, name: str) -> None:
    """The last messages and some old ones are in the broker again, out of order, up to three times each."""
    sent = [json.loads(line) for line in stage.sent_file.read_text().splitlines()[:-1]]
    chosen = sent[-8:] + draw.sample(sent, min(len(sent), 8))
    copies = [message for message in chosen for _ in range(draw.randint(1, 3)) if message["queue"] == "celery"]
    draw.shuffle(copies)
    with noted(stage, name), Redis.from_url(stage.valkey.url) as client:
        for copy in copies:
            answer: Any = client.lpush(copy["queue"], copy["message"])
            assert answer


FAULTS: dict[str, Callable[[Stage, random.Random, str], None]] = {
    "kill a child": _kill_child,
    "kill a worker": _kill_worker,
    "stop a worker": _stop_worker,
    "stop a worker shortly": _stop_worker_shortly,
    "roll the workers": _roll_workers,
    "kill beat": _kill_beat,
    "run two beats": _two_beats,
    "kill a producer": _kill_producer,
    "kill the broker": _kill_broker,
    "wipe the broker": _wipe_broker,
    "empty the broker": _empty_broker,
    "freeze the broker": _freeze_broker,
    "freeze the proxy": _freeze_proxy,
    "kill the database": _kill_database,
    "freeze the database": _freeze_database,
    "duplicate messages": _duplicate_messages,
    "kill the result store": _kill_results,
}
"""Every fault, by the name that the report gives it."""

DECK = tuple(name for name in FAULTS if name != "kill the result store")
"""The faults of a run that names none: without what is Celery's own to bear."""

OF_DATABASE = ("kill beat", "run two beats", "kill the database", "freeze the database")
"""Faults of what bare Celery has not."""
