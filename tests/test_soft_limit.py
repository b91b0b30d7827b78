"""A soft time limit hits the task's body, never the claim or the finish."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from celery_jobs import soft_limit

if TYPE_CHECKING:
    from collections.abc import Iterator


class SoftLimitError(Exception):
    """What the pool's handler raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def hit(*_: object) -> None:
        raise SoftLimitError

    before = signal.signal(signal.SIGUSR1, hit)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_limit_that_is_held_back_raises_when_it_is_let_through() -> None:
    soft_limit.hold()
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(SoftLimitError):
        soft_limit.let()


def test_a_limit_that_another_thread_receives_is_held_back_too() -> None:
    soft_limit.hold()
    thread = threading.Thread(target=lambda: signal.raise_signal(signal.SIGUSR1))
    thread.start()
    thread.join()
    with pytest.raises(SoftLimitError):
        soft_limit.let()


def test_a_limit_that_comes_after_the_end_is_forgotten() -> None:
    soft_limit.hold()
    os.kill(os.getpid(), signal.SIGUSR1)
    soft_limit.drop()
    soft_limit.let()
    with pytest.raises(SoftLimitError):
        os.kill(os.getpid(), signal.SIGUSR1)


def test_a_limit_that_comes_inside_raises_at_the_end_of_it() -> None:
    done: list[str] = []

    def ask() -> None:
        with soft_limit.held():
            os.kill(os.getpid(), signal.SIGUSR1)
            done.append("not interrupted")

    soft_limit.let()
    with pytest.raises(SoftLimitError):
        ask()
    assert done == ["not interrupted"]


def test_a_limit_that_is_held_back_outside_too_stays_so() -> None:
    soft_limit.hold()
    with soft_limit.held():
        os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(SoftLimitError):
        soft_limit.let()
