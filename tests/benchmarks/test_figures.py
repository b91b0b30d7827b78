from __future__ import annotations

import pytest

from benchmarks.figures import Spread, paired, percentile, spread
from benchmarks.goals import ratio


def test_a_spread_is_the_median_with_the_least_and_the_most() -> None:
    assert spread([3, 1, 2]) == Spread(2, 1, 3, 3)
    assert spread([1, 2]) == Spread(1.5, 1, 2, 2)
    assert spread([]) is None


def test_values_are_compared_round_by_round_and_a_round_without_one_is_left_out() -> None:
    assert paired([10, None, 30, 40], [5, 5, None, 80], ratio) == [2, 0.5]
    assert paired([10], [], ratio) == []


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
