"""Many new jobs as one JSON document, which PostgreSQL reads as a table: a statement and a parameter for them all.

A parameter for each value of each row costs both sides several times what storing it does.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, LargeBinary, Text, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from celery_jobs.store.new_rows import GIVEN, MADE, row_values, values_of
from celery_jobs.store.rows import Message
from celery_jobs.store.tables import Timestamp, jobs, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Row

    from celery_jobs.store.rows import NewJob

__all__ = ["insert"]

AT_ONCE = 1000
"""Rows of one document, which is a few megabytes then."""


def insert(new: Sequence[NewJob], connection: Connection) -> list[Row[Any]]:
    """Insert the jobs that are not there yet, and their messages; gives `MADE` of those."""
    rows: list[Row[Any]] = []
    for start in range(0, len(new), AT_ONCE):
        document = json.dumps([_as_object(job) for job in new[start : start + AT_ONCE]], ensure_ascii=False)
        rows += connection.execute(_statement(), {"document": document}).all()
    return rows


def _as_object(job: NewJob) -> dict[str, Any]:
    """What is given of a job and of its message; what is not there is NULL."""
    values = {name: value for name, value in values_of(job).items() if value is not None}
    for name in _MOMENTS & values.keys():
        values[name] = values[name].isoformat()
    for name in Message.__slots__:
        values[f"message_{name}"] = getattr(job.message, name)
    values["message_body"] = b64encode(job.message.body).decode()
    return values


_MOMENTS = {name for name, kind in GIVEN.items() if isinstance(kind, Timestamp)}


@cache
def _statement() -> Any:
    given = _given()
    job = _insert_from(given, jobs, row_values(lambda name, _: given.c[name])).on_conflict_do_nothing()
    made = job.returning(*MADE).cte("job")
    contents = {c.name: given.c[f"message_{c.name}"] for c in messages.c}
    contents["body"] = func.decode(contents["body"], "base64")
    its_messages = _insert_from(given.join(made, made.c.id == given.c.id), messages, contents).cte("message")
    return select(made).add_cte(its_messages)


def _given() -> Any:
    """The document as a table, read once."""
    kinds = {**GIVEN, **{f"message_{c.name}": _kind(c.type) for c in messages.c}}
    columns = [column(name, kind) for name, kind in kinds.items()]
    document = bindparam("document", type_=Text).cast(JSON)
    read = func.json_to_recordset(document).table_valued(*columns).render_derived(name="new", with_types=True)
    return select(*read.c).cte("given").prefix_with("MATERIALIZED")


def _kind(kind: Any) -> Any:
    """Bytes have no form in JSON."""
    return Text() if isinstance(kind, LargeBinary) else kind


def _insert_from(source: Any, table: Any, values: dict[str, Any]) -> Any:
    return postgresql_insert(table).from_select(list(values), select(*values.values()).select_from(source))
