"""A result store that is away decides nothing: what it could not be told is noted, and told later.

Celery's tracer takes an error of its result backend for one of its own, after the task's body has returned; the attempt
would end as failed. Here the body's outcome stands, and its chain stays untold until a service has told it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from celery.exceptions import BackendError
from kombu.exceptions import OperationalError

from celery_jobs.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["is_away", "tolerated"]

_missed: ContextVar[list[Exception] | None] = ContextVar("celery_job_missed", default=None)


@contextmanager
def tolerated(backend: Any) -> Iterator[list[Exception]]:
    """Let a result backend be away inside; gives the errors that it met."""
    for name in ("mark_as_done", "mark_as_failure", "mark_as_retry"):
        if name not in backend.__dict__:
            setattr(backend, name, _tolerant(backend, getattr(backend, name)))
    missed: list[Exception] = []
    token = _missed.set(missed)
    try:
        yield missed
    finally:
        _missed.reset(token)


def _tolerant(backend: Any, mark: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(mark)
    def tolerant(*args: Any, **kwargs: Any) -> Any:
        missed = _missed.get()
        try:
            return mark(*args, **kwargs)
        except Exception as error:
            if missed is None or not is_away(backend, error):
                raise
            missed.append(error)
            return None

    return tolerant


def is_away(backend: Any, error: Exception) -> bool:
    """Whether a backend raises this when its server is away; what it raises of a result that it cannot keep is not."""
    own = (*getattr(backend, "connection_errors", ()), *getattr(backend, "channel_errors", ()))
    sql, django = sys.modules.get("sqlalchemy.exc"), sys.modules.get("django.db.utils")
    database = () if sql is None else (sql.DBAPIError,)
    of_django = () if django is None else (django.OperationalError, django.InterfaceError)
    away = (OSError, OperationalError, BackendError, StoreUnavailable, *own, *database, *of_django)
    return isinstance(error, away)
