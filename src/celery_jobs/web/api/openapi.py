"""The description of the API (OpenAPI 3.1), made of the operations and of the schemas that check their requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import celery_jobs
from celery_jobs.tokens import Scope
from celery_jobs.web.api import dead_letters, jobs, problem, queues, schedules, work
from celery_jobs.web.api.bodies import LARGEST
from celery_jobs.web.api.bulk import OPERATIONS as BULK
from celery_jobs.web.api.events import EVENTS
from celery_jobs.web.api.forms import SCHEMAS, ref
from celery_jobs.web.api.operation import Answer, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.web.api.operation import Call, Schema

__all__ = ["OPERATIONS", "describe"]


def describe_api(call: Call) -> Answer:
    """The description of the API, which is what its requests are checked by."""
    return Answer(200, describe(call.root))


OPERATIONS: tuple[Operation, ...] = (
    *jobs.OPERATIONS,
    *BULK,
    *dead_letters.OPERATIONS,
    *work.OPERATIONS,
    *queues.OPERATIONS,
    *schedules.OPERATIONS,
    Operation(
        "GET",
        "/openapi.json",
        Scope.READ,
        "See this description",
        describe_api,
        {200: ("This description.", {"type": "object"})},
        tag="description",
    ),
    EVENTS,
)
"""All that there is."""

_PROBLEMS = {
    400: "What is not JSON, or is no request.",
    401: "No API token, and nobody signed in.",
    403: "Who asks may not.",
    404: "Nothing of this id or name, that who asks may see.",
    409: "The state of things is against it.",
    413: f"A body over {LARGEST:,} bytes, or arguments that are too large.",
    415: "Another media type than application/json.",
    422: "A wrong value; the field is named.",
    429: "Over the token's rate; Retry-After says when there is room.",
    503: "The jobs database does not answer.",
}

_ABOUT = """Jobs of a Celery app, as its dashboard has them. Every operation needs an API token as
`Authorization: Bearer cjk_…`, or a sign-in to Flower. Moments are ISO 8601 in UTC."""


def describe(root: str) -> dict[str, Any]:
    """The description of an API that is at the path `root`."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "celery-jobs", "version": celery_jobs.__version__, "description": _ABOUT},
        "servers": [{"url": root}],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, "Problem": problem.SCHEMA},
            "responses": {str(status): _problem(said) for status, said in _PROBLEMS.items()},
            "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "An API token."}},
        },
        "security": [{"token": []}],
    }


def _problem(said: str) -> dict[str, Any]:
    return {"description": said, "content": {problem.MEDIA_TYPE: {"schema": ref("Problem")}}}


def _operation(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"{operation.run.__doc__} Needs the scope {_scopes(operation)}.",
        "tags": [operation.tag],
        "parameters": [*_path(operation), *_listed("query", operation.query), *_listed("header", operation.headers)],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        made["requestBody"] = {"required": operation.needs_body, "content": content}
    return made


def _scopes(operation: Operation) -> str:
    return "work or operate" if operation.scope is Scope.WORK else str(operation.scope)


def _path(operation: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    names = re.findall(r"\{(\w+)\}", operation.path)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _listed(place: str, schemas: Mapping[str, Schema]) -> list[dict[str, Any]]:
    return [{"name": name, "in": place, "required": False, "schema": schema} for name, schema in schemas.items()]


def _responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, (said, schema) in operation.answers.items():
        content = {} if schema is None else {"content": {operation.gives: {"schema": schema}}}
        found[str(status)] = {"description": said, **content}
    refused = {400, 401, 403, 404, 422, 429, 503}
    if operation.changes:
        refused |= {409, 413, 415}
    return {**found, **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(refused)}}
