"""What PostgreSQL's planner is told where its guesses mislead it, and what it guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ClauseElement, Executable, literal_column
from sqlalchemy.ext.compiler import compiles

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.engine import Connection

__all__ = ["by_index", "expected", "in_order"]


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


def expected(connection: Connection, query: Select[Any]) -> int:
    """How many rows PostgreSQL expects a query to find, by its statistics; none is read."""
    # The plan would be read as if it were the query's first column.
    anything: Select[Any] = query.with_only_columns(literal_column("1"), maintain_column_froms=True)
    (plan,) = connection.execute(_Explain(anything)).scalar_one()
    return int(plan["Plan"]["Plan Rows"])


class _Explain(Executable, ClauseElement):
    """The plan of a query, as JSON."""

    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(_Explain, "postgresql")
def _explain(element: _Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.query, **options)}"
