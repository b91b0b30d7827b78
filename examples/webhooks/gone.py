"""A receiver that answers 410 Gone wants no more: its endpoint is disabled."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from celery_jobs import Jobs, subscribe
from celery_jobs.events import Kind
from webhooks import endpoints
from webhooks.app import QUEUE, app

if TYPE_CHECKING:
    from celery_jobs import Event

__all__ = ["disable_what_is_gone"]


@subscribe
def disable_what_is_gone(event: Event) -> None:
    """Called in the process that made the request, after the delivery is stored as dead.

    A worker that dies just here has not disabled the endpoint; the next 410 does.
    """
    if event.kind is not Kind.DEAD_LETTERED or event.queue != QUEUE or event.original_id is None:
        return
    run = Jobs(app).get(event.original_id)
    match run.tags:
        case {"endpoint": str(endpoint_id)} if run.response_status == HTTPStatus.GONE:
            endpoints.disable(endpoint_id, run.error_message or "410 Gone")
