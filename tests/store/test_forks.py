"""No process forks while one of its threads is inside the database."""

from __future__ import annotations

import os
import threading
import time

from celery_jobs.store.forks import ForkGate


def test_a_fork_waits_until_nobody_is_inside() -> None:
    gate, inside, leave = ForkGate(), threading.Event(), threading.Event()
    left: list[float] = []

    def use() -> None:
        with gate:
            inside.set()
            leave.wait(5)
            left.append(time.monotonic())

    thread = threading.Thread(target=use)
    thread.start()
    assert inside.wait(5)
    threading.Timer(0.1, leave.set).start()
    gate.before_fork()
    forked = time.monotonic()
    gate.after_in_parent()
    thread.join()
    assert left
    assert left[0] <= forked


def test_nobody_comes_in_during_a_fork() -> None:
    gate, entered = ForkGate(), threading.Event()

    def use() -> None:
        with gate:
            entered.set()

    gate.before_fork()
    thread = threading.Thread(target=use)
    thread.start()
    assert not entered.wait(0.1)
    gate.after_in_parent()
    assert entered.wait(5)
    thread.join()


def test_a_thread_that_is_inside_itself_may_fork() -> None:
    gate = ForkGate()
    with gate:
        gate.before_fork()
        gate.after_in_parent()


def test_a_child_begins_with_an_open_gate() -> None:
    gate = ForkGate()
    gate.before_fork()
    child = os.fork()
    if child == 0:
        gate.after_in_child()
        with gate:
            os._exit(0)
    gate.after_in_parent()
    assert os.waitpid(child, 0)[1] == 0
