"""What the server itself counts: rows that were read, statements that were run. Processes tell it when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.entrant import Failed, await_until
from benchmarks.stage import query

if TYPE_CHECKING:
    from benchmarks.stage import Stage

__all__ = ["await_alone", "forget_statements", "rows_read", "statements"]

PATIENCE = 60.0

OTHERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
ROWS_READ = (
    "SELECT (SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables),"
    " (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)"
)
OF_DATABASE = "dbid = (SELECT oid FROM pg_database WHERE datname = %(name)s)"
STATEMENTS = (
    "SELECT coalesce(sum(calls), 0),"
    " coalesce(sum(calls) FILTER (WHERE query !~* '^(BEGIN|COMMIT|ROLLBACK|SET|SHOW|DEALLOCATE)'), 0)"
    f" FROM pg_stat_statements WHERE {OF_DATABASE}"
)
FORGET = (
    "SELECT pg_stat_statements_reset(0::oid, (SELECT oid FROM pg_database WHERE datname = %(name)s), 0::bigint)::text"
)


def await_alone(database: str) -> None:
    """Wait until nobody else is connected: what they did is counted by then. Raises Failed."""
    if not await_until(lambda: query(database, OTHERS)[0][0] == 0, PATIENCE):
        raise Failed("somebody stays connected to the database")


def rows_read(database: str) -> tuple[int, int]:
    """Rows of tables, and entries of indexes, that have been read in a database that all others have left."""
    await_alone(database)
    rows, entries = query(database, ROWS_READ)[0]
    return int(rows), int(entries)


def forget_statements(stage: Stage, name: str) -> None:
    """Begin to count the statements in the database of this name."""
    query(stage.server, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    query(stage.server, FORGET, {"name": name})


def statements(stage: Stage, name: str) -> tuple[int, int]:
    """Statements since: all, and those that are more than the beginning or the end of a transaction."""
    every, proper = query(stage.server, STATEMENTS, {"name": name})[0]
    return int(every), int(proper)
