"""The shapes of what the API gives: made of the classes whose `to_json` they are, so that they cannot part."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from celery_jobs.bulk import BulkResult
from celery_jobs.outside import ClaimedJob, Lease
from celery_jobs.run_events import RunEvent
from celery_jobs.runs import EnqueueOutcome, Run
from celery_jobs.store.pauses import Pause
from celery_jobs.store.rows import Job
from celery_jobs.store.schedules import Schedule
from celery_jobs.store.stats import QueueStats

if TYPE_CHECKING:
    from celery_jobs.web.api.operation import Schema

__all__ = ["SCHEMAS", "listed", "ref"]

ANY: Schema = {}
_KINDS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "None": {"type": "null"},
    "list[str]": {"type": "array", "items": {"type": "string"}},
    "list[Any]": {"type": "array"},
    "dict[str, Any]": {"type": "object"},
    "Mapping[str, Any]": {"type": "object"},
    "Kind": {"type": "string"},
    "Any": ANY,
}
"""What JSON has of a type, as it is written."""


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(field: str, name: str, **more: Schema) -> Schema:
    """An object whose `field` is a list of such."""
    properties = {field: {"type": "array", "items": ref(name)}, **more}
    return {"type": "object", "required": list(properties), "properties": properties}


def _shape(kind: type, leave: tuple[str, ...] = (), **more: Schema) -> Schema:
    """The object that `to_json` of a dataclass gives; `leave`: fields that it leaves out or gives otherwise."""
    properties = {f.name: _value(str(f.type)) for f in fields(kind) if f.name not in leave}
    properties.update(more)
    said = (kind.__doc__ or "").strip().partition("\n")[0]
    return {"type": "object", "description": said, "required": list(properties), "properties": properties}


def _value(written: str) -> Schema:
    parts = [_KINDS[part.strip()] for part in written.split(" | ")]
    if len(parts) == 1:
        return parts[0]
    plain = [part["type"] for part in parts if set(part) == {"type"}]
    return {"type": plain} if len(plain) == len(parts) else {"anyOf": parts}


_RESPONSE: dict[str, Schema] = {
    "response_headers": {"type": ["object", "null"]},
    "response_body": {"type": ["string", "null"]},
    "response_body_base64": {"type": ["string", "null"]},
    "response_truncated": {"type": ["boolean", "null"]},
}
_ARGUMENTS: Schema = {
    "type": "object",
    "required": ["args", "kwargs", "unreadable"],
    "properties": {
        "args": {"type": "array"},
        "kwargs": {"type": "object"},
        "unreadable": {"type": ["string", "null"]},
    },
}
_ERROR: Schema = {
    "type": ["object", "null"],
    "required": ["type", "message", "field"],
    "properties": {"type": {"type": "string"}, "message": {"type": "string"}, "field": {"type": ["string", "null"]}},
}
_COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer"}}
_IDS: Schema = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
_INSIDE = ("lease_token", "lease_expires_at", "nesting", "reuse", "untold_at", "response", "result")

SCHEMAS: dict[str, Schema] = {
    "Attempt": _shape(Job, _INSIDE, result=ANY, **_RESPONSE),
    "Job": _shape(Run, ("response", "attempts"), **_RESPONSE, attempts={"type": "array", "items": ref("Attempt")}),
    "Arguments": _ARGUMENTS,
    "Outcome": _shape(EnqueueOutcome, ("error",), error=_ERROR),
    "BulkResult": _shape(BulkResult, ("skipped",), skipped=_COUNTS, skipped_ids=_IDS),
    "Claimed": _shape(ClaimedJob),
    "Lease": _shape(Lease),
    "Queue": _shape(QueueStats, ended={"type": "integer"}),
    "Pause": _shape(Pause),
    "Schedule": _shape(Schedule),
    "Event": _shape(RunEvent),
}
"""Every shape by its name."""

_WITH_ARGUMENTS: Schema = {"required": ["arguments"], "properties": {"arguments": ref("Arguments")}}
SCHEMAS["JobWithArguments"] = {"allOf": [ref("Job"), _WITH_ARGUMENTS]}
