"""Bodies of requests: JSON, bounded in size and depth, and nothing that two readers could read in two ways."""

from __future__ import annotations

import json
from typing import Any

from celery_jobs.web.api.problem import Problem

__all__ = ["LARGEST", "read_json"]

LARGEST = 1_048_576
"""Bytes of a body."""

DEEPEST = 64
"""Lists and objects inside of each other."""

LONGEST_NUMBER = 100
"""Digits; a longer one takes long to read, and no field takes one."""


def read_json(body: bytes) -> Any:
    """The value of a body; raises Problem for what is not JSON, names a key twice or is too deep."""
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_int, parse_float=_float
        )
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: {error.reason} at byte {error.start}", "not_json") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(400, f"the body is not JSON: {error.msg} at {where}", "not_json") from None
    except RecursionError:
        raise _too_deep() from None
    _require_shallow(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Problem(400, f"the body names the key {name[:100]!r} twice in one object", "not_json")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise Problem(400, f"the body is not JSON: {name} is no number", "not_json")


def _int(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise Problem(400, f"the body has a number of more than {LONGEST_NUMBER} digits", "not_json")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Problem(400, "the body has a number that is too large", "not_json")
    return number


def _require_shallow(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise _too_deep()
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]


def _too_deep() -> Problem:
    return Problem(400, f"the body is deeper than {DEEPEST} lists and objects inside of each other", "not_json")
