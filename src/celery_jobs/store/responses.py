"""What HTTP jobs were answered: one row for each attempt that was, written with its end and gone with its chain."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select, sql

from celery_jobs.sealing import PREFIX, Unsealable
from celery_jobs.store.among import has_arrays, of_chains
from celery_jobs.store.rows import Response
from celery_jobs.store.tables import jobs, responses
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.engine import Connection

    from celery_jobs.sealing import Sealer

__all__ = ["delete", "keep", "read", "sealed"]


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


def read(connection: Connection, job_ids: Collection[str], sealer: Sealer | None = None) -> dict[str, Response]:
    """The responses of attempts, by their ids."""
    if not job_ids:
        return {}
    rows = connection.execute(select(responses).where(responses.c.id.in_(job_ids)))
    found = {row.id: Response(row.status, row.headers, bytes(row.body), row.truncated) for row in rows}
    return found if sealer is None else {id: _opened(response, sealer) for id, response in found.items()}


def sealed(response: Response, sealer: Sealer | None) -> Response:
    """A response as it is kept: where what is new is sealed, its headers are with its body."""
    if sealer is None or not sealer.seals:
        return response
    whole = json.dumps(response.headers).encode() + b"\n" + response.body
    return replace(response, headers={}, body=sealer.seal(whole))


def _opened(response: Response, sealer: Sealer) -> Response:
    """As it was; sealed with a key that is not here it stays as it is."""
    if response.headers or not response.body.startswith(PREFIX):
        return response
    try:
        headers, _, body = sealer.open(response.body).partition(b"\n")
    except Unsealable:
        return response
    return replace(response, headers=json.loads(headers), body=body)


def delete(connection: Connection, original_ids: Sequence[str]) -> None:
    """Delete those of whole chains, before their attempts."""
    theirs = of_chains(original_ids, has_arrays(connection))
    answered = select(jobs.c.id).where(theirs, jobs.c.response_status.is_not(None))
    connection.execute(sql.delete(responses).where(responses.c.id.in_(answered)))
