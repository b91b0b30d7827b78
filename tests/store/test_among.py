"""Many ids are one parameter, and an array from the start."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import psycopg

from celery_jobs.ids import new_id
from celery_jobs.store.among import among
from celery_jobs.store.tables import jobs


def test_an_array_of_ids_is_no_text_that_is_read_for_each_row() -> None:
    ids, dialect = [new_id(), new_id()], psycopg.dialect()  # type: ignore[no-untyped-call]
    compiled = among(jobs.c.id, ids, arrays=True).compile(dialect=dialect)
    ((bound, name),) = compiled.bind_names.items()
    write = bound.type.bind_processor(dialect)
    assert str(compiled) == f"jobs.id = ANY (%({name})s::UUID[])"
    assert write is not None
    assert write(bound.value) == f"{{{ids[0]},{ids[1]}}}"
