from __future__ import annotations

import json
import random
from typing import Any

import pytest

from celery_jobs.policy import (
    Custom,
    Exponential,
    Fixed,
    Level,
    Policy,
    level_from_json,
    parse_level,
    parse_policy,
    resolve,
)

QUEUE = Level((60, 1800, 10800))


def _waits(policy: Policy) -> list[float]:
    return [policy.delay(retries) for retries in range(policy.max_attempts - 1)]


def test_fixed_waits_the_same_before_every_retry() -> None:
    assert _waits(Fixed(30, attempts=4)) == [30, 30, 30]


def test_exponential_doubles_from_its_initial_wait() -> None:
    assert _waits(Exponential(1, attempts=10)) == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_exponential_stays_at_its_cap() -> None:
    assert _waits(Exponential(1, attempts=8, cap=10)) == [1, 2, 4, 8, 10, 10, 10]


@pytest.mark.parametrize("attempts", [1, 100])
def test_exponential_takes_one_to_a_hundred_attempts(attempts: int) -> None:
    waits = _waits(Exponential(1, attempts=attempts))
    assert len(waits) == attempts - 1
    assert max(waits, default=0) <= 86_400


def test_jitter_draws_from_the_upper_half_of_each_wait() -> None:
    policy = Exponential(2, attempts=4, jitter=True)
    for retries, wait in enumerate([2, 4, 8]):
        drawn = [policy.delay(retries) for _ in range(500)]
        assert wait / 2 <= min(drawn) < wait * 0.55
        assert wait * 0.95 < max(drawn) <= wait


def test_without_jitter_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: pytest.fail("a list is exact"))
    assert _waits(Custom([1, 2])) == [1, 2]
    assert _waits(Fixed(7, 3)) == [7, 7]


def test_custom_waits_as_listed_and_makes_one_attempt_more() -> None:
    policy = Custom([60, 1800, 10800])
    assert (policy.max_attempts, _waits(policy)) == (4, [60, 1800, 10800])


def test_the_last_delay_repeats() -> None:
    assert _waits(Custom([1, 5], attempts=6)) == [1, 5, 5, 5, 5]


def test_fewer_attempts_than_delays_leave_the_rest_unused() -> None:
    assert _waits(Custom([1, 5, 9], attempts=2)) == [1]


def test_no_delays_are_one_attempt() -> None:
    assert Custom([]).max_attempts == 1


@pytest.mark.parametrize("attempts", [1, 100])
def test_one_to_a_hundred_attempts_are_allowed(attempts: int) -> None:
    assert Fixed(1, attempts).max_attempts == attempts


@pytest.mark.parametrize("attempts", [0, -1, 101])
@pytest.mark.parametrize("make", [lambda n: Fixed(1, n), lambda n: Custom([1], n), lambda n: Exponential(1, n)])
def test_other_numbers_of_attempts_are_refused(make: Any, attempts: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 100, not {attempts}"):
        make(attempts)


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_a_delay_is_a_finite_number_from_0(delay: float) -> None:
    with pytest.raises(ValueError, match="0 or more seconds"):
        Custom([1, delay])


@pytest.mark.parametrize(("initial", "cap"), [(-1, 10), (1, -10)])
def test_exponential_takes_no_negative_seconds(initial: float, cap: float) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Exponential(initial, 3, cap)


def test_attempts_without_delays_are_refused() -> None:
    with pytest.raises(ValueError, match="3 attempts need at least one delay"):
        Custom([], attempts=3)


@pytest.mark.parametrize("policy", [Fixed(30, 4), Exponential(1, 5, jitter=True), Custom([1, 2.5], 7), Custom([])])
def test_a_policy_survives_its_json_form(policy: Policy) -> None:
    assert parse_policy(json.loads(json.dumps(policy.to_json()))) == policy


@pytest.mark.parametrize("delays", [[60, 1800], (60, 1800)])
def test_a_plain_list_is_a_policy(delays: Any) -> None:
    assert parse_policy(delays) == Custom([60, 1800])


@pytest.mark.parametrize(
    "value", ["60", 60, None, [60, "60"], [True], {"delays": ["1"]}, {"delays": 60}, {1, 2}, [[60]]]
)
def test_what_is_no_list_of_seconds_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        parse_policy(value)


@pytest.mark.parametrize("attempts", [2.5, "3", True])
def test_attempts_are_a_whole_number_that_the_error_names(attempts: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="attempts"):
        parse_policy({"delays": [1], "max_attempts": attempts})


def test_an_unknown_key_of_a_policy_is_named() -> None:
    with pytest.raises(ValueError, match="delay_seconds"):
        parse_policy({"delays": [1], "delay_seconds": 3})


def test_a_job_goes_before_its_task_and_a_task_before_its_queue() -> None:
    job, task = Level((1,), 2), Level((5, 6), 3)
    assert resolve(job, task, QUEUE) == Policy((1,), 2)
    assert resolve(Level(), task, QUEUE) == Policy((5, 6), 3)
    assert resolve(Level(), Level(), QUEUE) == Policy((60, 1800, 10800), 4)


def test_a_level_with_delays_alone_sets_the_attempts_too() -> None:
    assert resolve(Level((1, 2)), Level(max_attempts=9), QUEUE) == Policy((1, 2), 3)


def test_a_level_with_attempts_alone_takes_the_delays_below_it() -> None:
    assert resolve(Level(max_attempts=9), Level((1, 2)), QUEUE) == Policy((1, 2), 9)
    assert _waits(resolve(Level(max_attempts=6), QUEUE)) == [60, 1800, 10800, 10800, 10800]


def test_an_empty_list_is_one_attempt_whatever_is_below() -> None:
    assert resolve(Level(()), QUEUE) == Policy((), 1)


def test_attempts_that_no_level_has_delays_for_are_an_error() -> None:
    with pytest.raises(ValueError, match="need at least one delay"):
        resolve(Level(max_attempts=3), Level((), 1), QUEUE)


def test_jitter_comes_with_the_delays_and_not_from_another_level() -> None:
    drawn = Level((8,), 2, jitter=True)
    assert resolve(Level(max_attempts=3), drawn).jitter
    assert not resolve(Level((4,)), drawn).jitter


def test_a_level_is_read_of_a_policy_or_a_list() -> None:
    assert parse_level() == Level()
    assert parse_level(retry_policy=Fixed(30, 4)) == Level((30.0,), 4)
    assert parse_level(retry_policy=Exponential(1, 3, jitter=True)) == Level((1.0, 2.0), 3, True)
    assert parse_level(retry_delays=[60, 1800]) == Level((60.0, 1800.0), 3)
    assert parse_level(retry_delays=[]) == Level((), 1)
    assert parse_level(max_attempts=5) == Level(max_attempts=5)


def test_attempts_beside_a_policy_go_before_its_own() -> None:
    assert parse_level(retry_policy=Fixed(30, 4), max_attempts=2) == Level((30.0,), 2)
    assert parse_level(retry_delays=[60], max_attempts=5) == Level((60.0,), 5)


def test_max_retries_are_the_attempts_but_one() -> None:
    assert parse_level(max_retries=3) == Level(max_attempts=4)
    assert parse_level(max_retries=0) == Level(max_attempts=1)
    assert parse_level(max_attempts=4, max_retries=3) == Level(max_attempts=4)


@pytest.mark.parametrize("attempts", [3, 5])
def test_max_attempts_and_max_retries_that_disagree_are_an_error(attempts: int) -> None:
    with pytest.raises(ValueError, match=f"max_attempts {attempts} and max_retries 3 disagree"):
        parse_level(max_attempts=attempts, max_retries=3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_attempts": 0}, "max_attempts must be from 1 to 100, not 0"),
        ({"max_attempts": 101}, "max_attempts must be from 1 to 100, not 101"),
        ({"max_retries": 100}, "from 1 to 100, not 101"),
        ({"max_retries": -1}, "from 1 to 100, not 0"),
        ({"max_attempts": 2.5}, "max_attempts must be a whole number"),
        ({"max_attempts": True}, "max_attempts must be a whole number"),
        ({"max_retries": "3"}, "max_retries must be a whole number"),
        ({"retry_policy": Fixed(1, 2), "retry_delays": [1]}, "say the same"),
        ({"retry_delays": [], "max_attempts": 0}, "from 1 to 100"),
        ({"retry_delays": [-1]}, "0 or more seconds"),
    ],
)
def test_what_is_wrong_with_a_level_is_said(options: dict[str, Any], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        parse_level(**options)


@pytest.mark.parametrize(
    "level", [Level(), Level((1.0, 2.0), 3, True), Level(max_attempts=5), Level(()), Level((4.0,))]
)
def test_a_level_survives_its_json_form(level: Level) -> None:
    assert level_from_json(json.loads(json.dumps(level.to_json()))) == level
