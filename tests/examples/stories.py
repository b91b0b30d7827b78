"""What the stories of the webhook product share. Imported once the product is configured."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from celery_jobs import Jobs
from tests.processes import wait_until
from webhooks import deliveries, endpoints

if TYPE_CHECKING:
    from datetime import datetime

    from celery import Celery

    from celery_jobs import BulkResult, Run
    from tests.processes import Worker
    from webhooks.endpoints import Endpoint
    from webhooks.receiver import Received, Receiver

__all__ = ["Story"]

_numbers = itertools.count(1)


class Story:
    """One story: events of a type of its own, and endpoints at a receiver of its own."""

    def __init__(self, app: Celery, worker: Worker, receiver: Receiver) -> None:
        self.jobs = Jobs(app)
        self.worker = worker
        self.receiver = receiver
        self.number = next(_numbers)
        self.event_type = f"story-{self.number}.happened"

    def register(self, path: str, *answers: str) -> Endpoint:
        """An endpoint that answers so, or 200."""
        self.receiver.behave(path, *answers)
        return endpoints.register(self.receiver.url(path), [self.event_type])

    def look(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint as it is now."""
        return endpoints.get(endpoint.id)

    def enable(self, endpoint: Endpoint) -> Endpoint:
        endpoints.enable(endpoint.id)
        return self.look(endpoint)

    def until_disabled(self, endpoint: Endpoint) -> str:
        """Why, once it is."""
        return wait_until(lambda: self.look(endpoint).disabled_because, message="it is not disabled")

    def id(self, name: str) -> str:
        """An event's id, which no other story has."""
        return f"{name}-{self.number}"

    def publish(self, name: str, payload: Any = None) -> list[Run]:
        """Publish an event; gives its deliveries as they were enqueued."""
        return deliveries.publish(self.event_type, payload, self.id(name))

    def ended(self, run: Run) -> Run:
        return self.jobs.wait(run.id, 30)

    def recent(self, endpoint: Endpoint) -> list[Run]:
        """The deliveries to an endpoint, oldest first, all of them ended."""
        return [self.ended(run) for run in reversed(deliveries.recent(endpoint).runs)]

    def replay(self, endpoint: Endpoint, since: datetime) -> BulkResult:
        return deliveries.replay_failed(endpoint, since)

    def requests(self, endpoint: Endpoint) -> list[Received]:
        """What came to an endpoint, in order."""
        return list(self.receiver.requests.get(urlsplit(endpoint.url).path, []))

    def acted_on(self, endpoint: Endpoint) -> dict[str, Any]:
        """The events that the endpoint's owner has acted on."""
        return dict(self.receiver.events.get(urlsplit(endpoint.url).path, {}))
