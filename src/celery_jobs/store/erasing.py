"""Erasing what runs hold of the data that they were given or have made, and keeping that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from celery_jobs.store import responses
from celery_jobs.store.among import has_arrays, of_chains
from celery_jobs.store.db import now
from celery_jobs.store.dead_letters import lock_originals
from celery_jobs.store.tables import jobs, messages, unsent_callback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["erase"]

NOTHING: dict[str, Any] = {"body": b"", "headers": "{}", "properties": "{}"}
"""What is left of a message."""

_ERASED: dict[str, Any] = dict.fromkeys(
    ("result", "error_message", "traceback", "last_error_message", "callback_url", "callback_error")
)
"""Columns that hold what jobs were given and have made. Ids, names, tags, keys, states, times, error types remain."""


def erase(db: Database, original_ids: Sequence[str]) -> set[str]:
    """Erase ended chains: arguments, results, answers, error texts, tracebacks; gives those that are erased.

    Left are those whose end Celery has not been told, and those with a callback that is still to be sent.
    """

    def transition(connection: Connection) -> set[str]:
        locked = lock_originals(connection, original_ids)
        ended = [id for id, row in locked.items() if row.ended_at is not None and row.untold_at is None]
        if not ended:
            return set()
        going = set(ended) - _owing(connection, ended)
        new = [id for id in ended if id in going and locked[id].erased_at is None]
        if new:
            _erase(connection, new)
        return going

    return db.run(transition)


def _owing(connection: Connection, original_ids: list[str]) -> set[str]:
    """Those with a callback that is still to be sent, and tells what is to be erased."""
    of_these = of_chains(original_ids, has_arrays(connection))
    return set(connection.execute(select(jobs.c.original_id).where(of_these, unsent_callback)).scalars())


def _erase(connection: Connection, original_ids: list[str]) -> None:
    """These are not erased yet."""
    of_these = of_chains(original_ids, has_arrays(connection))
    # Attempts share messages within their chain only.
    theirs = select(jobs.c.message_id).where(of_these)
    connection.execute(update(messages).where(messages.c.id.in_(theirs)).values(NOTHING))
    responses.delete(connection, original_ids)
    connection.execute(update(jobs).where(of_these).values(**_ERASED, erased_at=now()))
