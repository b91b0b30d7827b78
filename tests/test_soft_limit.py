"""A soft time limit hits the task's body, never the claim or the finish."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from celery_jobs import soft_limit


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
    mask = soft_limit.hold()
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(SoftLimitError):
        soft_limit.let(mask)


def test_a_limit_that_comes_after_the_end_is_forgotten() -> None:
    mask = soft_limit.hold()
    os.kill(os.getpid(), signal.SIGUSR1)
    soft_limit.drop()
    soft_limit.let(mask)
    with pytest.raises(SoftLimitError):
        os.kill(os.getpid(), signal.SIGUSR1)
