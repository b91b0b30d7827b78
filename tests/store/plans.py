"""A database with thousands of jobs of each kind, made in SQL, and what statements read of it."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from celery_jobs.store.db import LONGEST_ANSWER, Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

FIRST = {
    "ended": 1,
    "delayed": 7001,
    "sent": 10_001,
    "claimed": 10_501,
    "pulled": 10_521,
    "leased": 13_521,
    "limited": 13_541,
    "running": 33_541,
    "end": 33_543,
}
"""The number of the first job of each kind: those that have ended are the oldest."""

QUEUES = 5
EACH_DEAD, EACH_RETRIED = 7, 20
"""Of those that have ended: each so many-th one died, or succeeded at its second attempt."""

DEAD = (FIRST["delayed"] - 1) // EACH_DEAD
OWES, UNTOLD, REPLAYS, DUE, EXPIRED, TAGGED = 10, 5, 3, 10, 10, 10
OLDEST_DAYS, DAYS = 40, 39


def number(n: int) -> str:
    """The id of a generated job."""
    return str(uuid.UUID(int=n << 80 | 7 << 76 | 2 << 62))


LONELY = number(900_000)
"""A worker that was declared dead and holds jobs."""

_ID = "(lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid"
_COMMON = {
    "id": _ID,
    "original_id": _ID,
    "message_id": _ID,
    "task_id": f"{_ID}::text",
    "max_attempts": "4",
    "retries_enabled": "true",
    "queue": f"'q' || n % {QUEUES}",
    "task": "'shop.t' || n % 20",
    "created_at": "at",
    "scheduled_at": "at",
    "sent_at": "at",
    "send_count": "1",
}
_DIED = f"n % {EACH_DEAD} = 0"
_IN_VAIN = "n % 2 = 0"
"""Of those that wait for a place: the key has one for every other of them, and none for these."""
_KINDS: dict[str, dict[str, str]] = {
    "ended": {
        "queue": f"CASE WHEN n % {10 * EACH_DEAD} = 0 THEN 'rare' ELSE 'q' || n % {QUEUES} END",
        "started_at": "at",
        "finished_at": "at + interval '1 s'",
        "ended_at": "at + interval '1 s'",
        "status": f"CASE WHEN {_DIED} OR n % {EACH_RETRIED} = 0 THEN 'failed' ELSE 'completed' END",
        "final_status": f"CASE WHEN {_DIED} THEN 'dead_lettered' ELSE 'success' END",
        "error_type": f"CASE WHEN {_DIED} THEN 'ValueError' END",
        "error_message": f"CASE WHEN {_DIED} THEN 'card ' || n || ' declined' END",
        "dead_lettered_at": f"CASE WHEN {_DIED} THEN at + interval '1 s' END",
        "replay_of": f"CASE WHEN n BETWEEN 100 AND {99 + REPLAYS} THEN '{number(1)}'::uuid END",
        "callback_state": f"CASE WHEN n <= {OWES} THEN 'due' END",
        "callback_url": f"CASE WHEN n <= {OWES} THEN 'https://shop.example/hook' END",
        "callback_at": f"CASE WHEN n <= {OWES} THEN at END",
        "untold_at": f"CASE WHEN n <= {UNTOLD} THEN at END",
        "tags": f"CASE WHEN n <= {TAGGED} THEN jsonb_build_object('customer', 42, 'region', 'eu') "
        "WHEN n % 2 = 0 THEN jsonb_build_array('import') END",
    },
    "delayed": {
        "status": "'pending'",
        "queue": "'later'",
        "sent_at": "NULL",
        "send_count": "0",
        "scheduled_at": f"CASE WHEN n < {FIRST['delayed'] + DUE} THEN at ELSE at + interval '90 days' END",
    },
    "sent": {
        "status": "'pending'",
        "expires_at": f"CASE WHEN n < {FIRST['sent'] + EXPIRED} THEN at "
        "WHEN n % 9 = 0 THEN timestamptz '9999-01-01' END",
    },
    "claimed": {
        "status": "'processing'",
        "started_at": "at",
        "worker": f"'{LONELY}'::uuid",
        "lease_token": _ID,
        "lease_expires_at": "at",
    },
    "pulled": {
        "status": "'pending'",
        "queue": "'pull'",
        "task": "NULL",
        "priority": "n % 3",
        "sent_at": "NULL",
        "send_count": "0",
        "scheduled_at": f"CASE WHEN n < {FIRST['pulled'] + DUE} THEN at ELSE at + interval '90 days' END",
    },
    "leased": {
        "status": "'processing'",
        "queue": "'pull'",
        "task": "NULL",
        "sent_at": "NULL",
        "send_count": "0",
        "started_at": "at",
        "claimed_by": "'painter'",
        "lease_duration": "30",
        "lease_token": _ID,
        "lease_expires_at": "at",
    },
    "limited": {
        "status": "'pending'",
        "queue": "'later'",
        "sent_at": "NULL",
        "send_count": "0",
        "concurrency_key": f"CASE WHEN {_IN_VAIN} THEN 'full' ELSE 'roomy' END",
        "concurrency_limit": f"CASE WHEN {_IN_VAIN} THEN 1 ELSE 2 END",
        "waits_for": f"CASE WHEN {_IN_VAIN} THEN 'key:full' ELSE 'key:roomy' END",
    },
    "running": {
        "status": "'processing'",
        "concurrency_key": f"CASE WHEN {_IN_VAIN} THEN 'full' ELSE 'roomy' END",
        "concurrency_limit": f"CASE WHEN {_IN_VAIN} THEN 1 ELSE 2 END",
        "started_at": "at",
        "worker": f"'{LONELY}'::uuid",
        "lease_token": _ID,
        "lease_expires_at": "at",
    },
}


_FOLLOWING = (
    "INSERT INTO jobs (id, original_id, message_id, task_id, max_attempts, retries_enabled, queue, task, status,"
    " final_status, attempt_number, is_retry, created_at, scheduled_at, sent_at, started_at, finished_at) "
    "SELECT overlay(id::text placing '1' from 36)::uuid, id, id, task_id, 4, true, queue, task, 'completed',"
    " 'success', 2, true, ended_at, ended_at, ended_at, ended_at, ended_at "
    "FROM jobs WHERE status = 'failed' AND final_status = 'success'",
    "INSERT INTO messages"
    " (id, body, content_type, content_encoding, headers, properties, exchange, routing_key) "
    "SELECT id, '[[], {}, {}]', 'application/json', 'utf-8', '{}', '{}', '', queue FROM jobs",
    "INSERT INTO places (limit_name, job_id, lease_token)"
    " SELECT 'key:' || concurrency_key, id, lease_token FROM jobs WHERE status = 'processing'"
    " AND concurrency_key IS NOT NULL",
    "INSERT INTO workers (id, hostname, pid, queues, started_at, heartbeat_at, dead_at) "
    f"SELECT '{LONELY}', 'lonely@shop', 1, '[]', at, at, at FROM (SELECT clock_timestamp() AS at) AS now",
)


def fill(url: str) -> None:
    """Make the jobs, with what follows of them; statistics are up to date."""
    db = Database(url, timeout=20)
    with db.transaction() as connection:
        firsts = list(FIRST.values())
        for (kind, values), first, following in zip(_KINDS.items(), firsts, firsts[1:], strict=False):
            _insert(connection, kind, values, range(first, following))
        for statement in _FOLLOWING:
            connection.exec_driver_sql(statement)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    db.dispose()


def _insert(connection: Connection, kind: str, values: dict[str, str], numbers: range) -> None:
    columns = {**_COMMON, **values}
    at = f"clock_timestamp() - interval '{OLDEST_DAYS} days' + n * interval '{DAYS} days' / {FIRST['end']}"
    connection.exec_driver_sql(
        f"INSERT INTO jobs ({', '.join(columns)}) SELECT {', '.join(columns.values()).replace('%', '%%')} "
        f"FROM (SELECT n, {at} AS at FROM generate_series({numbers[0]}, {numbers[-1]}) AS n) AS made"
    )


class Rehearsal(Database):
    """A database in which whatever is done is undone."""

    @contextmanager
    def transaction(self, within: float = LONGEST_ANSWER) -> Iterator[Connection]:
        with super().transaction(within) as connection:
            yield connection
            connection.rollback()

    @contextmanager
    def asking(self, within: float = LONGEST_ANSWER) -> Iterator[Connection]:
        with self.reading(within) as connection:
            yield connection

    @contextmanager
    def alone(self, within: float = LONGEST_ANSWER) -> Iterator[Any]:
        with self.transaction(within) as connection:
            yield connection


@dataclass(slots=True)
class Reading:
    """What some statements have read of the jobs and their messages: by which indexes, and how many rows."""

    by_index: bool = False
    """Whether it had forbidden the planner to read tables."""
    indexes: set[str] = field(default_factory=set)
    scans: list[str] = field(default_factory=list)
    rows: int = 0

    def add(self, node: dict[str, Any]) -> None:
        """Count a node of a plan, and those below it."""
        loops, table = node["Actual Loops"], node.get("Relation Name")
        if "Index Name" in node and loops:
            self.indexes.add(node["Index Name"])
        if table in ("jobs", "messages") and node["Node Type"] != "ModifyTable":
            removed = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
            self.rows += round((node["Actual Rows"] + removed) * loops)
            if node["Node Type"].endswith("Seq Scan"):
                self.scans.append(table)
        for below in node.get("Plans", []):
            self.add(below)


def reading(db: Database, act: Callable[[], Any]) -> Reading:
    """What `act` reads; each of its statements is run once more, explained, before it is run."""
    found = Reading()

    def explain(connection: Any, _: Any, statement: str, parameters: Any, __: Any, many: bool) -> None:
        if statement.startswith("SET LOCAL"):
            found.by_index = found.by_index or statement == "SET LOCAL enable_seqscan = off"
        if statement.startswith(("SET", "EXPLAIN")):
            return
        cursor = connection.connection.cursor()
        cursor.execute("SAVEPOINT explained")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters[0] if many else parameters)
        found.add(cursor.fetchone()[0][0]["Plan"])
        cursor.execute("ROLLBACK TO SAVEPOINT explained")
        cursor.close()

    event.listen(db.engine, "before_cursor_execute", explain)
    try:
        act()
    finally:
        event.remove(db.engine, "before_cursor_execute", explain)
    return found
