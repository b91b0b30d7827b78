"""No sign is missing where a service has something to do, and there is none where nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from celery_jobs.ids import new_id
from celery_jobs.store import endings, sends, signs, workers
from celery_jobs.store.db import now
from tests.store.conftest import begin, change, claim, complete, shift, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement

    from celery_jobs.store.db import Database


def hold(db: Database) -> None:
    sends.hold(db, store(db))


def let_expire(db: Database) -> None:
    change(db, store(db), expires_at=now(10))
    shift(db, 20)


def leave_unclaimed(db: Database) -> None:
    store(db)
    shift(db, 130)


def leave_untold(db: Database) -> None:
    endings.cancel(db, store(db))


def fall_silent(db: Database) -> None:
    workers.register(db, "w@here", 1, ["shop"])
    shift(db, 61)


def die(db: Database) -> None:
    fall_silent(db)
    workers.declare_dead(db, 60)
    shift(db, -3600)  # whatever its last heartbeat


def let_a_lease_run_out(db: Database) -> None:
    claim(db, store(db), new_id())
    shift(db, 5000)


REASONS = [
    (signs.unsent(75), hold),
    (signs.to_repair(120), let_expire),
    (signs.to_repair(120), leave_unclaimed),
    (signs.to_repair(120), leave_untold),
    (signs.lost(60), fall_silent),
    (signs.lost(60), die),
    (signs.lost(60), let_a_lease_run_out),
]


@pytest.mark.parametrize(("sign", "happen"), REASONS, ids=lambda value: getattr(value, "__name__", None))
def test_a_sign_is_there_when_it_has_happened(
    db: Database, sign: ColumnElement[bool], happen: Callable[[Database], None]
) -> None:
    def is_there() -> bool:
        with db.asking() as connection:
            return bool(connection.execute(select(sign)).scalar_one())

    workers.register(db, "w@there", 2, ["shop"])
    complete(db, store(db))
    begin(db)
    assert not is_there()
    happen(db)
    assert is_there()
