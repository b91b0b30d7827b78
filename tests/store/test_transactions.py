"""How the transaction of a caller's own tells of its commit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine

from celery_jobs.store import transactions


def test_two_phases_are_one_commit() -> None:
    """Checked on the transaction alone: a server has prepared transactions switched off as it comes."""

    class Prepared(transactions._TellingTwoPhaseTransaction):
        __slots__ = ()

        def __init__(self, connection: Any) -> None:
            self.connection, self.is_active = connection, True

        def _do_commit(self) -> None:
            done.append("committed")
            self.is_active = False

    done: list[str] = []
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        vars(connection)[transactions._TO_FOLLOW] = [lambda: done.append("sent")]
        Prepared(connection).commit()
    engine.dispose()
    assert done == ["committed", "sent"]
