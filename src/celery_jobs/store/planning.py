"""What PostgreSQL's planner is told where its guesses mislead it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["by_index", "in_order"]


def by_index(connection: Connection) -> None:
    """Have the rest of the transaction read tables by their indexes.

    What is live lies close together, and little of it was sent and not finished; the planner takes each for a share of
    all the history, and reads all of it instead.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")


def in_order(connection: Connection) -> None:
    """Have the rest of the transaction take what an index gives in the order that is asked for, and not sort.

    Of a queue that was filled a moment ago the planner knows nothing yet: it would read it all to give the first few.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
