"""What PostgreSQL's planner is told where its guesses mislead it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["by_index"]


def by_index(connection: Connection) -> None:
    """Have the rest of the transaction read tables by their indexes.

    What is live lies close together, and little of it was sent and not finished; the planner takes each for a share of
    all the history, and reads all of it instead.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
