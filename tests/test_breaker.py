from __future__ import annotations

import pytest

from celery_jobs.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(5, clock)


def test_a_breaker_lets_everybody_try_until_one_fails(breaker: Breaker) -> None:
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    breaker.failed()
    assert [breaker.allows() for _ in range(3)] == [False] * 3


def test_after_the_interval_one_caller_may_try_and_keeps_the_others_off(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 4.9
    assert not breaker.allows()
    clock.now += 0.1
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_try_that_succeeds_closes_the_breaker(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 5
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True] * 3


def test_a_try_that_fails_opens_the_breaker_for_another_interval(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 5
    assert breaker.allows()
    clock.now += 3
    breaker.failed()
    clock.now += 4.9
    assert not breaker.allows()
    clock.now += 0.1
    assert breaker.allows()


def test_a_try_that_is_never_heard_of_lets_the_next_one_try_an_interval_later(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 5
    assert breaker.allows()
    clock.now += 5
    assert breaker.allows()


def test_asking_takes_nobodys_turn(breaker: Breaker, clock: Clock) -> None:
    assert breaker.is_closed
    assert breaker.would_allow
    breaker.failed()
    assert not breaker.would_allow
    clock.now += 5
    assert not breaker.is_closed
    assert breaker.would_allow
    assert breaker.allows()
    assert not breaker.would_allow
    breaker.succeeded()
    assert breaker.is_closed
    assert breaker.would_allow
