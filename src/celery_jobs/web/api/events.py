"""`GET /events`: what happens to a job, or to all of a filter, as server-sent events (WHATWG HTML, section 9.2).

A stream is a row of short ones, each from where the last has ended: between two the token is looked at again, and a
reader who has gone is found out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from celery_jobs.cursors import NewsCursor
from celery_jobs.errors import WaitTimeout
from celery_jobs.store import reads
from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.operation import Answer, Operation

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from celery_jobs.run_events import RunEvent
    from celery_jobs.web.api.operation import Call

__all__ = ["EVENTS", "MEDIA_TYPE", "SLICE", "Stream"]

MEDIA_TYPE = "text/event-stream"
LAST_ID = "Last-Event-ID"
"""Where a browser that has lost its connection says how far it came."""

FIRST_ID = "00000000-0000-0000-0000-000000000000"

SLICE = 4.0
"""Seconds that a stream goes on until the token is looked at again; a revoked one is refused within five."""


class Stream:
    """One reader's stream, in slices. Beginning it raises what `Jobs.events` does."""

    def __init__(self, call: Call) -> None:
        self._call = call
        query = fields.renamed(call.query)
        self._since: str | None = call.headers.get(LAST_ID) or query.pop("since", None)
        self._id: str | None = query.pop("id", None)
        self._where: Any = query
        self.is_over = False
        if self._id is not None:
            call.own(self._id)
        else:
            queues = call.queues(query.pop("queue", None))
            self._where = query if queues is None else {**query, "queue": queues}
            self._since = self._since or str(NewsCursor(reads.database_time(call.plugin.db), original_id=FIRST_ID))
        self._events().close()

    def _events(self) -> Generator[RunEvent]:
        return self._call.jobs.events(self._id, self._since, SLICE, **self._where)

    def slice(self) -> Iterator[str]:
        """What is to be sent for some seconds; a comment, which keeps the connection, where nothing happened."""
        is_silent = True
        try:
            for event in self._events():
                self._since, is_silent = event.cursor, False
                yield _frame(event)
            self.is_over = self._id is not None
        except WaitTimeout:
            pass
        if is_silent:
            yield ":\n\n"


def _frame(event: RunEvent) -> str:
    data = json.dumps(event.to_json(), ensure_ascii=False)
    return f"id: {event.cursor}\nevent: {event.kind}\ndata: {data}\n\n"


def follow(call: Call) -> Answer:
    """What happens to a job (`id`), until it is over, or from now on to all of a filter. `since`: an event's id."""
    raise NotImplementedError  # the handler has streams of its own


EVENTS = Operation(
    "GET",
    "/events",
    Scope.READ,
    "Follow jobs",
    follow,
    {200: ("Events; the data of each is an Event.", {"type": "string"})},
    tag="events",
    query={
        "id": fields.NAME,
        "since": fields.TEXT,
        **{name: fields.FILTER[name] for name in ("queue", "queue_name", "task", "tag")},
    },
    headers={LAST_ID: fields.TEXT},
    gives=MEDIA_TYPE,
)
