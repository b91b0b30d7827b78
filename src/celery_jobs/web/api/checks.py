"""Requests are checked by the schemas that describe them, so that the description is true."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from celery_jobs.web.api.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery_jobs.web.api.operation import Operation, Schema

__all__ = ["read_body", "read_query"]

MOST_ERRORS = 20
LONGEST_SHOWN = 100
"""Characters of a wrong value that an error repeats."""


def read_body(operation: Operation, given: Any) -> dict[str, Any]:
    """A body that its schema takes; raises Problem with every field at fault."""
    errors = list(_errors(_validator(operation), given))
    if errors:
        raise Problem.of_fields(errors)
    return dict(given)


_validators: dict[tuple[str, str], Any] = {}


def _validator(operation: Operation) -> Any:
    """Made once for each operation: that takes longer than most of what it checks."""
    key = (operation.method, operation.path)
    if key not in _validators:
        _validators[key] = Draft202012Validator(operation.body)
    return _validators[key]


def _errors(validator: Any, given: Any) -> Iterable[tuple[str, str]]:
    for number, error in enumerate(validator.iter_errors(given)):
        if number == MOST_ERRORS:
            return
        yield from _said(error)


def _said(error: Any) -> Iterable[tuple[str, str]]:
    """The fields at fault, and what is wrong with each."""
    where = _path(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        for name in error.instance:
            if name not in known:
                yield _joined(where, name), _unknown(name, known)
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield from ((_joined(where, name), "is required") for name in missing[:1])
    elif error.validator == "anyOf" and "required" in error.validator_value[0]:
        names = [name for part in error.validator_value for name in part["required"]]
        yield _joined(where, names[0]), f"one of {', '.join(names)} is required"
    else:
        yield where or "body", _shortened(error)


def _shortened(error: Any) -> str:
    shown = repr(error.instance)
    message = str(error.message)
    return message.replace(shown, f"{shown[:LONGEST_SHOWN]} …") if len(shown) > LONGEST_SHOWN else message


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"unknown field; did you mean {near[0]}?" if near else f"unknown field; known are {', '.join(names)}"


def _path(parts: Iterable[str | int]) -> str:
    text = ""
    for part in parts:
        text = f"{text}[{part}]" if isinstance(part, int) else _joined(text, part)
    return text


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def read_query(known: Mapping[str, Schema], given: Mapping[str, list[str]], where: str = "the query") -> dict[str, Any]:
    """The parameters of a query, each of its type; raises Problem with every one at fault."""
    errors: list[tuple[str, str]] = []
    found: dict[str, Any] = {}
    for name, values in given.items():
        if name not in known:
            errors.append((name, _unknown(name, known)))
        elif len(values) > 1 and known[name]["type"] != "array":
            errors.append((name, f"{where} names it more than once"))
        else:
            found[name] = _typed(known[name], values)
    for name, value in found.items():
        errors += [(name, _shortened(error)) for error in Draft202012Validator(known[name]).iter_errors(value)]
    if errors:
        raise Problem.of_fields(errors[:MOST_ERRORS])
    return found


def _typed(schema: Schema, values: list[str]) -> Any:
    """A text as its schema has it; what it cannot be stays a text, which the schema refuses."""
    kind, text = schema["type"], values[-1]
    if kind == "array":
        return values
    if kind == "integer":
        return int(text) if text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 20 else text
    if kind == "number":
        return float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text
