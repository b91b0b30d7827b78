"""The fields that requests have, under every name that the documents have for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.http.request import METHODS
from celery_jobs.options import CONFLICTS, LONGEST_TTL, MAX_KEY_LENGTH, MAX_TAGS
from celery_jobs.outside import LONGEST_LEASE, MOST_CLAIMED, SHORTEST_LEASE
from celery_jobs.policy import MAX_ATTEMPTS
from celery_jobs.settings import HTTP_TIMEOUTS, MAX_DELAY
from celery_jobs.states import FinalStatus, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.web.api.operation import Schema

__all__ = ["BULK", "CLAIM", "FILTER", "JOB", "PAGE", "SELECTION", "WORKER", "body", "renamed"]

LARGEST_PAGE, MOST_IN_BULK, MOST_IDS = 200, 100, 10_000
TEXT: Schema = {"type": "string"}
MOMENT: Schema = {"type": "string", "format": "date-time", "description": "ISO 8601; UTC where it does not say."}
TRUTH: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": 366 * 86_400}
KEY: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH}

SYNONYMS = {
    "queue_name": "queue",
    "run_at": "scheduled_at",
    "lease_duration_secs": "lease_duration",
    "default_max_retries": "max_retries",
}
"""Other names of fields, and what they are called here; the two are never given together."""


def _with(schema: Schema, description: str, **more: Any) -> Schema:
    return {**schema, "description": description, **more}


def _states(*states: str) -> Schema:
    """As any of the documents spells them."""
    spelt = [*states, *(["deadletter", "dead"] if FinalStatus.DEAD_LETTERED in states else [])]
    return {"type": "string", "enum": [*map(str, spelt), *(str(state).upper() for state in spelt)]}


QUEUE: Schema = {
    "queue": _with(NAME, "The queue."),
    "queue_name": _with(NAME, "The same as queue."),
}

_OPTIONS: Schema = {
    **QUEUE,
    "priority": _with(INTEGER, "Higher first; 0 where nothing is said."),
    "delay": {"type": "number", "minimum": 0, "maximum": MAX_DELAY, "description": "Seconds until it is due."},
    "scheduled_at": _with(MOMENT, "When it is due; what has passed is now."),
    "run_at": _with(MOMENT, "The same as scheduled_at."),
    "expires": {**SECONDS, "exclusiveMinimum": 0, "description": "Seconds after which it is cancelled unless begun."},
    "max_attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS, "description": "The first included."},
    "max_retries": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_ATTEMPTS - 1,
        "description": "Attempts behind the first.",
    },
    "retry_delays": {
        "type": "array",
        "items": SECONDS,
        "maxItems": MAX_ATTEMPTS,
        "description": "Seconds before attempts 2, 3 and so on.",
    },
    "retry_policy": {"type": "object", "description": "A policy as jobs_queues has them."},
    "tags": {
        "anyOf": [
            {"type": "array", "items": TEXT, "maxItems": MAX_TAGS},
            {"type": "object", "maxProperties": MAX_TAGS},
        ]
    },
    "callback_url": _with(TEXT, "Where the end of each attempt is told.", maxLength=2048),
    "idempotency_key": _with(KEY, "A second job with it is the first."),
    "idempotency_scope": _with(KEY, "Where the key is known; the name of the task, or of the queue."),
    "idempotency_ttl": {**SECONDS, "exclusiveMinimum": 0, "maximum": LONGEST_TTL},
    "on_conflict": {"type": "string", "enum": list(CONFLICTS)},
    "concurrency_key": KEY,
    "concurrency_limit": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
}

_TASK: Schema = {
    "task": _with(NAME, "A registered task."),
    "args": {"type": "array", "description": "Its arguments."},
    "kwargs": {"type": "object", "description": "Its keyword arguments."},
}

_REQUEST: Schema = {
    "url": _with(TEXT, "An HTTP request instead of a task.", minLength=1, maxLength=2048),
    "method": {"type": "string", "enum": list(METHODS)},
    "headers": {"type": "object", "additionalProperties": TEXT, "maxProperties": 50},
    "payload": {"description": "The request's JSON; without url, the job of outside workers."},
    "body": _with(TEXT, "The request's text, instead of payload."),
    "body_base64": _with(TEXT, "The request's bytes, instead of payload."),
    "timeout": {"type": "number", "minimum": HTTP_TIMEOUTS[0], "maximum": HTTP_TIMEOUTS[1]},
    "assertions": {"type": "array", "items": {"type": "object"}, "maxItems": 100},
    "follow_redirects": TRUTH,
    "sign": TRUTH,
    "no_retry_statuses": {"type": "array", "items": {"type": "integer", "minimum": 300, "maximum": 599}},
}

JOB: Schema = {
    "type": "object",
    "description": "A job: one of task, url, or payload alone.",
    "anyOf": [{"required": ["task"]}, {"required": ["url"]}, {"required": ["payload"]}],
    "properties": {**_TASK, **_REQUEST, **_OPTIONS},
    "additionalProperties": False,
}

BULK: Schema = {
    "type": "object",
    "required": ["jobs"],
    "properties": {
        "jobs": {"type": "array", "items": JOB, "minItems": 1, "maxItems": MOST_IN_BULK},
        "default_max_retries": _OPTIONS["max_retries"],
        **{name: _OPTIONS[name] for name in ("queue", "queue_name", "priority", "tags", "callback_url")},
    },
    "additionalProperties": False,
}

FILTER: dict[str, Schema] = {
    "status": _states(*Status, *FinalStatus),
    "final_status": _states(*FinalStatus),
    **QUEUE,
    "task": NAME,
    "tag": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MAX_TAGS},
    "error_type": NAME,
    "error": _with(NAME, "A text in the error's message, in any case."),
    "created_after": MOMENT,
    "created_before": MOMENT,
    "dead_lettered_after": MOMENT,
    "dead_lettered_before": MOMENT,
    "attempts": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
    "original": {"type": "string", "format": "uuid"},
    "replay_of": {"type": "string", "format": "uuid"},
    "ended": TRUTH,
}
"""The fields of a Filter, as query parameters and in bodies."""

PAGE: dict[str, Schema] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 50},
    "cursor": _with(TEXT, "The cursor of the page before."),
}

REASON: Schema = {"type": "string", "maxLength": 1024, "description": "Why; the audit log has it."}

SELECTION: Schema = {
    "ids": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MOST_IDS, "description": "Ids of jobs."},
    "filter": {"type": "object", "properties": FILTER, "additionalProperties": False},
    "dry_run": _with(TRUTH, "Only say what would be done."),
    "reason": REASON,
    "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 100_000, "description": "Jobs a second at most."},
    "after": _with(TEXT, "The cursor of an answer that says stopped, to go on from there."),
}

_LEASE: Schema = {"type": "number", "minimum": SHORTEST_LEASE, "maximum": LONGEST_LEASE, "description": "Seconds."}
WORKER: Schema = {"worker_id": _with(NAME, "The name that an outside worker gives itself.")}
LEASE: Schema = {"lease_duration": _LEASE, "lease_duration_secs": _LEASE}
CLAIM: Schema = {**QUEUE, **WORKER, **LEASE, "limit": {"type": "integer", "minimum": 1, "maximum": MOST_CLAIMED}}


def body(properties: Schema, *required: str) -> Schema:
    """An object of these fields and no others."""
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


def renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under the names that are used here; raises ValueError where one is given under two."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        usual = SYNONYMS.get(name, name)
        if usual in found:
            raise ValueError(f"{name}: says the same as {usual}; give one")
        found[usual] = value
    return found
