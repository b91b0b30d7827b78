"""Deliveries: an event on its way to an endpoint is one HTTP job, found again by its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery_jobs import InvalidJob, Jobs
from webhooks import endpoints
from webhooks.app import QUEUE, app

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs import BulkResult, Page, Run
    from webhooks.endpoints import Endpoint

__all__ = ["publish", "recent", "replay_failed"]


def publish(event_type: str, payload: Any, event_id: str | None = None) -> list[Run]:
    """Send an event to each endpoint that is enabled and subscribed to its type; gives the deliveries.

    Name the event by what has happened (`invoice-7-paid`): an id that was published before is delivered no second
    time, so where this raises, or its process dies, publish again.

    An event arrives at least once and in no promised order. Receivers know it by `id` in the body; `webhook-id` names
    the delivery, the same in all its attempts.
    """
    event = {"id": event_id or f"evt_{uuid4().hex}", "type": event_type, "data": payload}
    runs = [_deliver(event, endpoint) for endpoint in endpoints.subscribed_to(event_type)]
    return [run for run in runs if run is not None]


def _deliver(event: dict[str, Any], endpoint: Endpoint) -> Run | None:
    try:
        return Jobs(app).enqueue_http(
            endpoint.url,
            queue=QUEUE,
            payload=event,
            sign=True,
            idempotency_key=f"{endpoint.id}:{event['id']}",
            tags={"endpoint": endpoint.id, "event": event["id"]},
        )
    except InvalidJob as error:
        if error.field != "url":
            raise
        endpoints.disable(endpoint.id, str(error))  # what cannot be requested keeps nothing from the others
        return None


def recent(endpoint: Endpoint, limit: int = 20) -> Page:
    """The latest deliveries to an endpoint, newest first."""
    return Jobs(app).list(limit, queue=QUEUE, tag=f"endpoint:{endpoint.id}")


def replay_failed(endpoint: Endpoint, since: datetime) -> BulkResult:
    """Send what has failed for good since a moment, each once: what was replayed before is skipped.

    The request is repeated as it was, to the URL that the endpoint had. Raises ValueError where it is disabled.
    """
    if endpoint.disabled_because is not None:
        raise ValueError(f"{endpoint.id} is disabled: {endpoint.disabled_because}. Enable it first")
    return Jobs(app).replay_many(
        queue=QUEUE,
        tag=f"endpoint:{endpoint.id}",
        dead_lettered_after=since,
        reason="the endpoint is back",
        rate=50,  # a second: who has just recovered is not to be flooded
    )
