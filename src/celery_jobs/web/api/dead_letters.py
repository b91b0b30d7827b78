"""The operations on the dead-letter queue as a whole: replay and purge, by ids or by a filter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.forms import ref
from celery_jobs.web.api.jobs import where_of
from celery_jobs.web.api.operation import Answer, Operation
from celery_jobs.web.api.problem import Problem

if TYPE_CHECKING:
    from celery_jobs.bulk import BulkResult
    from celery_jobs.web.api.operation import Call

__all__ = ["OPERATIONS"]

LONGEST = 20.0
"""Seconds that one request works; what is left goes on with the cursor of its answer."""

MOST_IDS = 100
"""Ids that an answer names of each reason why some were skipped."""


def replay_dead_letters(call: Call) -> Answer:
    """Replay dead letters; `stopped` in the answer: ask again with its cursor as `after`."""
    how = {"force": call.body.get("force", False), "reason": call.body.get("reason")}
    return _told(call.jobs.replay_many(**_selected(call), **how))


def purge_dead_letters(call: Call) -> Answer:
    """Delete dead letters for good; `stopped` in the answer: ask again with its cursor as `after`."""
    call.jobs.reason = call.body.get("reason")
    return _told(call.jobs.purge_many(**_selected(call)))


def _selected(call: Call) -> Any:
    body = call.body
    if ("ids" in body) == ("filter" in body):
        raise Problem.of_fields([("ids", "give either ids or a filter; an empty filter means all")])
    until = time.monotonic() + LONGEST
    chosen: dict[str, Any] = {name: body[name] for name in ("dry_run", "rate", "after") if name in body}
    chosen["stop"] = lambda: time.monotonic() > until
    if "ids" in body:
        return {**chosen, "ids": [call.own(id) for id in body["ids"]]}
    where = where_of(call, fields.renamed(body["filter"]))
    return {**chosen, **where, "final_status": "dead_lettered"}


def _told(result: BulkResult) -> Answer:
    said = result.to_json()
    said["skipped_ids"] = {why: ids[:MOST_IDS] for why, ids in said["skipped_ids"].items()}
    return Answer(200, said)


_FORCE = {"force": {**fields.TRUTH, "description": "Also what has been replayed before."}}
_DONE = {200: ("What was done, and what was left alone.", ref("BulkResult"))}
_FILTER = {k: v for k, v in fields.FILTER.items() if k not in ("status", "final_status")}
_SELECTION = {**fields.SELECTION, "filter": fields.body(_FILTER)}

OPERATIONS = (
    Operation(
        "POST",
        "/jobs/dlq/replay",
        Scope.OPERATE,
        "Replay dead letters",
        replay_dead_letters,
        _DONE,
        tag="dead letters",
        body=fields.body({**_SELECTION, **_FORCE}),
    ),
    Operation(
        "POST",
        "/jobs/dlq/purge",
        Scope.ADMIN,
        "Purge dead letters",
        purge_dead_letters,
        _DONE,
        tag="dead letters",
        body=fields.body(_SELECTION),
    ),
)
