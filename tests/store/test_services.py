from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from celery_jobs.store.services import age, note, take
from tests.store.conftest import RACERS, race, shift

if TYPE_CHECKING:
    from celery_jobs.store.db import Database


def test_the_first_turn_of_all_is_won_by_one_of_sixteen(db: Database) -> None:
    assert race(*[partial(take, db, "promoter", 60)] * RACERS).count(True) == 1


def test_a_turn_is_won_by_one_of_sixteen(db: Database) -> None:
    assert take(db, "promoter", 60)
    shift(db, 61)
    assert race(*[partial(take, db, "promoter", 60)] * RACERS).count(True) == 1


def test_a_turn_comes_once_an_interval(db: Database) -> None:
    assert take(db, "promoter", 60)
    shift(db, 55)
    assert not take(db, "promoter", 60)
    shift(db, 5)
    assert take(db, "promoter", 60)
    assert not take(db, "promoter", 60)


def test_services_take_turns_of_their_own(db: Database) -> None:
    assert take(db, "promoter", 60)
    assert take(db, "reaper", 60)


def test_a_turn_that_lies_in_the_future_stops_nobody_for_long(db: Database) -> None:
    assert take(db, "promoter", 60)
    shift(db, -3600)
    assert take(db, "promoter", 60)
    assert not take(db, "promoter", 60)


def test_the_age_of_a_turn_is_known(db: Database) -> None:
    take(db, "promoter", 60)
    shift(db, 90)
    note(db, "promoter", 3, 12.5)
    take(db, "reaper", 60)
    ages = age(db)
    assert 90 <= ages["promoter"] < 100
    assert 0 <= ages["reaper"] < 10
