"""A stored response for people and programs: its body as text where it is text, secrets masked."""

from __future__ import annotations

import base64
import codecs
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery_jobs.redaction import redact, redact_text

if TYPE_CHECKING:
    from celery_jobs.store.rows import Response

__all__ = ["body_text", "masked_response", "response_json"]


def body_text(response: Response) -> str | None:
    """The body, where it is UTF-8; a character that the cut went through is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(response.body, final=not response.truncated)
    except UnicodeDecodeError:
        return None


def response_json(response: Response | None) -> dict[str, Any]:
    """The documented keys: the body is a text, or base64 where it is none."""
    if response is None:
        return dict.fromkeys(_KEYS)
    text = body_text(response)
    encoded = base64.b64encode(response.body).decode() if text is None else None
    return dict(zip(_KEYS, (response.headers, text, encoded, response.truncated), strict=True))


SECRET_HEADERS = frozenset(("set-cookie", "authorization", "proxy-authorization"))
"""Headers of responses whose values are nobody's to read, named in `jobs_redact` or not."""

_KEYS = ("response_headers", "response_body", "response_body_base64", "response_truncated")


def masked_response(response: Response | None, names: frozenset[str]) -> Response | None:
    """The response as it may be shown: what `jobs_redact` names masked in its headers and in a body that is text."""
    if response is None:
        return None
    text = body_text(response)
    shown = None if text is None else _masked_text(text, names)
    body = response.body if shown is None or shown == text else shown.encode()
    return replace(response, headers=redact(response.headers, names | SECRET_HEADERS), body=body)


def _masked_text(text: str, names: frozenset[str]) -> str:
    """JSON by its keys, whatever way they are written; anything else as a text."""
    try:
        value = json.loads(text)
        shown = redact(value, names)
    except (ValueError, RecursionError):
        return redact_text(text, names)
    return text if shown == value else json.dumps(shown, ensure_ascii=False)
