from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import false, true

from celery_jobs.store.services import Pace, Turn, age, note, take
from tests.store.conftest import RACERS, race, shift

if TYPE_CHECKING:
    from celery_jobs.store.db import Database


def won(turns: list[Turn | None]) -> list[Turn]:
    return [turn for turn in turns if turn is not None]


def test_the_first_turn_of_all_is_won_by_one_of_sixteen(db: Database) -> None:
    assert len(won(race(*[partial(take, db, "promoter", 60)] * RACERS))) == 1


def test_a_turn_is_won_by_one_of_sixteen(db: Database) -> None:
    assert take(db, "promoter", 60)
    shift(db, 61)
    assert len(won(race(*[partial(take, db, "promoter", 60)] * RACERS))) == 1


def test_a_turn_comes_once_an_interval(db: Database) -> None:
    assert take(db, "promoter", 600)
    shift(db, 500)
    assert not take(db, "promoter", 600)
    shift(db, 100)
    assert take(db, "promoter", 600)
    assert not take(db, "promoter", 600)


def test_a_slice_of_an_unfinished_turn_is_won_by_one_of_sixteen(db: Database) -> None:
    pace = Pace(pauses=9, grace=10)
    assert take(db, "sweeper", 1, pace=pace)
    note(db, "sweeper", None, 2000)
    shift(db, 29)
    assert not take(db, "sweeper", 1, pace=pace)
    shift(db, 2)
    assert len(won(race(*[partial(take, db, "sweeper", 1, pace=pace)] * RACERS))) == 1
    note(db, "sweeper", 5, 2000)
    assert not take(db, "sweeper", 60, pace=pace)
    shift(db, 61)
    assert take(db, "sweeper", 60, pace=pace)


def test_services_take_turns_of_their_own(db: Database) -> None:
    assert take(db, "promoter", 60)
    assert take(db, "reaper", 60)


def test_a_turn_that_lies_in_the_future_stops_nobody_for_long(db: Database) -> None:
    assert take(db, "promoter", 60)
    shift(db, -3600)
    assert take(db, "promoter", 60)
    assert not take(db, "promoter", 60)


def test_a_turn_knows_how_long_ago_the_one_before_it_was(db: Database) -> None:
    (first,) = won([take(db, "promoter", 60)])
    shift(db, 90)
    take(db, "reaper", 60)
    (second,) = won([take(db, "promoter", 60)])
    assert first.since == math.inf
    assert 90 <= second.since < 100


def test_a_turn_says_whether_there_is_anything_to_do(db: Database) -> None:
    assert [turn.has_work for turn in won([take(db, "a", 1), take(db, "b", 1, true()), take(db, "c", 1, false())])] == [
        True,
        True,
        False,
    ]


def test_the_age_of_a_turn_is_known(db: Database) -> None:
    take(db, "promoter", 60)
    shift(db, 90)
    note(db, "promoter", 3, 12.5)
    take(db, "reaper", 60)
    ages = age(db)
    assert 90 <= ages["promoter"] < 100
    assert 0 <= ages["reaper"] < 10
