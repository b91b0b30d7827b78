"""What HTTP jobs were answered: one row for each attempt that was, written with its end and gone with its chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, sql

from celery_jobs.store.among import has_arrays, of_chains
from celery_jobs.store.rows import Response
from celery_jobs.store.tables import jobs, responses
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.engine import Connection

__all__ = ["delete", "keep", "read"]


def keep(connection: Connection, job_id: str, response: Response) -> None:
    """Store the response of an attempt that ends in this transaction."""
    connection.execute(
        responses.insert().values(
            id=job_id,
            status=response.status,
            headers={clean(name): clean(value) for name, value in response.headers.items()},
            body=response.body,
            truncated=response.truncated,
        )
    )


def read(connection: Connection, job_ids: Collection[str]) -> dict[str, Response]:
    """The responses of attempts, by their ids."""
    if not job_ids:
        return {}
    rows = connection.execute(select(responses).where(responses.c.id.in_(job_ids)))
    return {row.id: Response(row.status, row.headers, bytes(row.body), row.truncated) for row in rows}


def delete(connection: Connection, original_ids: Sequence[str]) -> None:
    """Delete those of whole chains, before their attempts."""
    theirs = of_chains(original_ids, has_arrays(connection))
    answered = select(jobs.c.id).where(theirs, jobs.c.response_status.is_not(None))
    connection.execute(sql.delete(responses).where(responses.c.id.in_(answered)))
