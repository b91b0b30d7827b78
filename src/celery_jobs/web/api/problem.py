"""Errors as RFC 9457 has them: `application/problem+json`, with a code for programs and the field at fault."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import AmbiguousId, JobNotHeld, StoreUnavailable
from celery_jobs.web.faults import status_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MEDIA_TYPE", "SCHEMA", "Problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"

RETRY = 5
"""Seconds after which to ask a database again that does not answer."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "code": {"type": "string", "description": "The kind of error, for programs."},
        "request_id": {"type": "string", "description": "What the log has of it."},
        "field": {"type": "string", "description": "The field of the body, the query or the headers at fault."},
        "errors": {
            "type": "array",
            "description": "Every field at fault.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "holder": {"type": "string", "description": "The worker_id of who holds the job."},
        "candidates": {"type": "array", "items": {"type": "string"}, "description": "Ids that begin so."},
    },
}


class Problem(Exception):
    """An answer that is an error. `more`: further members; `headers`: such as Retry-After."""

    def __init__(
        self, status: int, detail: str, code: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
        self.headers = dict(headers or {})
        self.more = more

    @classmethod
    def of_fields(cls, errors: Sequence[tuple[str, str]], status: int = 422) -> Problem:
        """What is wrong with some fields."""
        said = [{"field": field, "detail": detail} for field, detail in errors]
        first = said[0]
        return cls(status, f"{first['field']}: {first['detail']}", "invalid", field=first["field"], errors=said)

    def to_json(self, request_id: str) -> dict[str, Any]:
        """The documented JSON form."""
        title = HTTPStatus(self.status).phrase
        told = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return {**told, "code": self.code, "request_id": request_id, **self.more}


def problem_of(error: Exception) -> Problem:
    """The problem that an error of a verb is; an error of none of ours says nothing of itself."""
    status = status_of(error)
    if status == 500:
        return Problem(500, "something is wrong on this side; the log has it under the request_id", "internal_error")
    more: dict[str, Any] = {}
    field = getattr(error, "field", None) or _named(str(error)) if status in (413, 422) else None
    if field is not None:
        more["field"] = field
    if isinstance(error, JobNotHeld) and error.holder is not None:
        more["holder"] = error.holder
    if isinstance(error, AmbiguousId):
        more["candidates"] = error.candidates
    headers = {"Retry-After": str(RETRY)} if isinstance(error, StoreUnavailable) else {}
    detail = "the jobs database does not answer" if status == 503 else str(error)
    return Problem(status, detail, _code(error), headers, **more)


def _code(error: Exception) -> str:
    """The error's name as a word: `AlreadyReplayed` is `already_replayed`; a plain ValueError `invalid`."""
    name = type(error).__name__
    return "invalid" if name == "ValueError" else re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _named(text: str) -> str | None:
    """The field that a ValueError begins with, as ours do."""
    found = re.match(r"([a-z_]+)(?:: | must )", text)
    return None if found is None else found[1]
