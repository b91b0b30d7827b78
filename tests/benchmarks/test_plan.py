from __future__ import annotations

from dataclasses import asdict

import pytest

from benchmarks.course import in_turn
from benchmarks.measures import MEASURES
from benchmarks.plan import FULL, QUICK


def test_the_full_plan_leaves_nothing_out_and_the_quick_one_only_what_there_is() -> None:
    assert FULL.left_out == ()
    assert set(QUICK.left_out) < set(MEASURES)


def test_nothing_is_larger_in_the_quick_plan() -> None:
    quick, full = asdict(QUICK), asdict(FULL)
    assert [name for name, size in quick.items() if isinstance(size, int | float) and size > full[name]] == []


def test_every_other_round_goes_the_other_way_round() -> None:
    assert [in_turn("abc", number) for number in range(3)] == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_sizes_are_changed_by_name_in_their_own_kind() -> None:
    plan = FULL.resized(["pinned=60", "swept=5000"])
    assert (plan.pinned, plan.swept, plan.drained) == (60.0, 5000, FULL.drained)


@pytest.mark.parametrize("size", ["none=1", "name=1", "pinned", "pinned=", "swept=1.5", "left_out=1"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=NUMBER|invalid literal|could not convert"):
        FULL.resized([size])
