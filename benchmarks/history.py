"""A history of jobs, generated from a seed and written by COPY: ten thousand rows or ten million, a realistic mix."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from benchmarks.chains import JOB_COLUMNS, MESSAGE_COLUMNS, TASKS, Chains
from benchmarks.mixes import DEAD, DELAYED, EVERYDAY, OLD, Mix

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEAD", "DELAYED", "EVERYDAY", "OLD", "TASKS", "Mix", "add", "fill", "first_id"]

CHUNK = 20_000
"""Rows in one COPY."""

Connection = psycopg.Connection[tuple[object, ...]]


def fill(dsn: str, rows: int, seed: int, mix: Mix = EVERYDAY, until: datetime | None = None) -> None:
    """Write so many rows into the migrated, empty database; the same seed and moment give the same rows.

    The indexes are built afterwards, and the tables vacuumed and analyzed, as they would be in production by then.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            definitions = _drop_indexes(connection)
            connection.execute("TRUNCATE jobs, messages CASCADE")  # and thus FREEZE is allowed
            chains = Chains(seed, mix, until or datetime.now(UTC), rows)
            for jobs, messages in _chunks(chains, rows):
                _copy(connection, "jobs", JOB_COLUMNS, jobs, "(FREEZE)")
                _copy(connection, "messages", MESSAGE_COLUMNS, messages, "(FREEZE)")
            for definition in definitions:
                connection.execute(definition.encode())
        for statement in ("VACUUM (ANALYZE) jobs", "VACUUM (ANALYZE) messages", "CHECKPOINT"):
            connection.execute(statement)


def add(dsn: str, rows: int, seed: int, mix: Mix, until: datetime | None = None) -> None:
    """Write so many rows more into a database in use."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for jobs, messages in _chunks(Chains(seed, mix, until or datetime.now(UTC), rows), rows):
            _copy(connection, "jobs", JOB_COLUMNS, jobs)
            _copy(connection, "messages", MESSAGE_COLUMNS, messages)
        connection.execute("ANALYZE jobs, messages")


def first_id(moment: datetime) -> str:
    """The smallest UUID of version 7 of a moment: older rows have smaller ones."""
    time = f"{int(moment.timestamp() * 1000):012x}"
    return f"{time[:8]}-{time[8:]}-7000-8000-000000000000"


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop all but the primary keys; gives what makes them again."""
    found = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = current_schema() AND tablename = 'jobs' AND indexname <> 'jobs_pkey'"
    ).fetchall()
    for name, _ in found:
        connection.execute(f'DROP INDEX "{name}"'.encode())
    return [str(definition) for _, definition in found]


def _chunks(chains: Chains, rows: int) -> Iterator[tuple[list[str], list[str]]]:
    """Lines for the two tables, some at a time."""
    jobs: list[str] = []
    messages: list[str] = []
    written = 0
    while written + len(jobs) < rows:
        made, its_messages = chains.make(rows - written - len(jobs))
        jobs += made
        messages += its_messages
        if len(jobs) >= CHUNK:
            yield jobs, messages
            written += len(jobs)
            jobs, messages = [], []
    yield jobs, messages


def _copy(connection: Connection, table: str, columns: tuple[str, ...], lines: list[str], how: str = "") -> None:
    text = io.StringIO()
    text.writelines(lines)
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN {how}"
    with connection.cursor().copy(statement.encode()) as copy:
        copy.write(text.getvalue())
