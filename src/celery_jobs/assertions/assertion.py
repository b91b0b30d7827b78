"""What the response to an HTTP job must be besides 2xx: values, their JSON form, and the check of a response.

They are validated where a job or a queue is declared, so that none is found to be nonsense when it is first needed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery_jobs.assertions import patterns
from celery_jobs.assertions.answer import Answer, Seen, shown
from celery_jobs.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Assertion", "check", "parse_assertions", "read_assertions"]

MOST_ASSERTIONS = 50
"""Of one job or queue."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One thing that must be so: of what `type`, by which `test`, against which `value`.

    `subject`: the name of a header, or a JSON path. Made by `parse_assertions`, which checks it.
    """

    type: str
    test: str
    value: Any
    subject: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The form that `parse_assertions` reads."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        name = _TYPES[self.type].subject
        named = {} if name is None else {name: self.subject}
        return {"type": self.type, **named, self.test: value}

    def __repr__(self) -> str:
        return f"Assertion({self.to_json()})"

    @property
    def needs_body(self) -> bool:
        """Whether more of the body must be read than is kept."""
        return self.type in ("body", "json")


def check(assertions: Sequence[Assertion], answer: Answer) -> str | None:
    """The first assertion that does not hold, in words: what was expected, and what was there instead."""
    seen = Seen(answer)
    with patterns.bounded():
        for assertion in assertions:
            instead = _instead(assertion, seen)
            if instead is not None:
                return f"{_what(assertion)} was expected {_wanted(assertion)}, but {instead}"
    return None


def parse_assertions(given: Any) -> tuple[Assertion, ...]:
    """Read a list of assertions in their JSON form, or as they are; raises InvalidJob that lists every fault."""
    found, faults = read_assertions(given)
    if faults:
        raise InvalidJob("assertions", "; ".join(faults))
    return found


def read_assertions(given: Any) -> tuple[tuple[Assertion, ...], list[str]]:
    """The sound ones, and the faults of the others: each with its index and field."""
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        return (), [f"a list of assertions is expected, not {shown(given)}"]
    items = list(given)
    if len(items) > MOST_ASSERTIONS:
        return (), [f"at most {MOST_ASSERTIONS} are taken, not {len(items):,}"]
    sound: list[Assertion] = []
    faults: list[str] = []
    for index, item in enumerate(items):
        assertion, problems = _read(item.to_json() if isinstance(item, Assertion) else item)
        faults += [f"[{index}]{problem}" for problem in problems]
        if assertion is not None and not problems:
            sound.append(assertion)
    return tuple(sound), faults


def _read(item: Any) -> tuple[Assertion | None, list[str]]:
    if not isinstance(item, Mapping) or not all(isinstance(name, str) for name in item):
        return None, [f": an object such as {_EXAMPLE} is expected, not {shown(item)}"]
    if "type" not in item:
        return None, [f".type: is missing; it is one of {', '.join(_TYPES)}"]
    kind = _TYPES.get(item["type"]) if isinstance(item["type"], str) else None
    if kind is None:
        return None, [f".type: {_unknown(item['type'], _TYPES)}"]
    return _read_fields(kind, item)


def _read_fields(kind: _Type, item: Mapping[str, Any]) -> tuple[Assertion | None, list[str]]:
    known = ["type", *([kind.subject] if kind.subject else []), *kind.tests]
    faults = [f".{name}: {_unknown(name, known)}" for name in item if name not in known]
    subject = None
    if kind.subject is not None:
        subject = item.get(kind.subject)
        if problem := kind.check_subject(subject):
            faults.append(f".{kind.subject}: {problem}")
    tests = [name for name in kind.tests if name in item]
    if len(tests) != 1:
        found = f"{' and '.join(tests)} are too many" if tests else "none is there"
        if tests or not faults:
            faults.append(f": exactly one of {', '.join(kind.tests)} is expected, and {found}")
        return None, faults
    value = item[tests[0]]
    if problem := kind.tests[tests[0]](value):
        faults.append(f".{tests[0]}: {problem}")
        return None, faults
    frozen = tuple(value) if item["type"] == "status" else value
    return Assertion(item["type"], tests[0], frozen, subject), faults


def _unknown(name: Any, known: Mapping[str, Any] | list[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"{shown(name)} is unknown; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")


def _what(assertion: Assertion) -> str:
    named = {"header": f"the header {assertion.subject}", "json": f"{assertion.subject} of the body"}
    return named.get(assertion.type, f"the {assertion.type}")


def _wanted(assertion: Assertion) -> str:
    value, test = assertion.value, assertion.test
    if test == "exists":
        return "to exist" if value else "not to exist"
    if test == "in":
        return f"to be one of {', '.join(map(str, value))}"
    if test == "between":
        return f"to be from {value[0]} to {value[1]}"
    written = f"{value} ms" if test == "below_ms" else _json(value)
    return f"{_WORDS[test]} {written}"


_WORDS = {
    "equals": "to be",
    "contains": "to contain",
    "matches": "to match",
    "!=": "not to be",
    "<": "to be below",
    "<=": "to be at most",
    ">": "to be above",
    ">=": "to be at least",
    "length": "to have the length",
    "below_ms": "to be below",
}


def _instead(assertion: Assertion, seen: Seen) -> str | None:
    """What was there instead; None where the assertion holds."""
    if assertion.type == "json":
        from celery_jobs.assertions import json_path

        return json_path.instead(assertion.subject or "$", assertion.test, assertion.value, seen)
    if assertion.type in ("status", "duration"):
        number = seen.answer.status if assertion.type == "status" else seen.answer.duration_ms
        holds = _NUMBERS[assertion.test](number, assertion.value)
        return None if holds else f"was {number}{' ms' if assertion.type == 'duration' else ''}"
    if assertion.type == "header":
        text = seen.header(assertion.subject or "")
        return "is not there" if text is None else _of_text(assertion, text, "")
    return _of_text(assertion, seen.text, seen.cut)


_NUMBERS: dict[str, Callable[[int, Any], bool]] = {
    "in": lambda number, wanted: number in wanted,
    "between": lambda number, wanted: wanted[0] <= number <= wanted[1],
    "below_ms": lambda number, wanted: number < wanted,
}


def _of_text(assertion: Assertion, text: str, cut: str) -> str | None:
    if assertion.test == "matches":
        try:
            holds = patterns.search(assertion.value, text)
        except TimeoutError:
            return f"looking for it took longer than {patterns.MOST_SECONDS:g} s"
    elif assertion.test == "contains":
        holds = assertion.value in text
    else:
        holds = assertion.value == text
    return None if holds else f"was {shown(text)}{cut}"


def _json(value: Any) -> str:
    return shown(json.dumps(value, ensure_ascii=False), quoted=False)


@dataclass(frozen=True, slots=True)
class _Type:
    """A type of assertion: the name of its subject, and its tests with what is wrong with a value for each."""

    tests: dict[str, Callable[[Any], str | None]]
    subject: str | None = None
    check_subject: Callable[[Any], str | None] = lambda given: None


def _text(given: Any) -> str | None:
    return None if isinstance(given, str) and given else f"a text is expected, not {shown(given)}"


def _statuses(given: Any) -> str | None:
    sound = isinstance(given, list | tuple) and given and all(map(_is_success, given))
    return None if sound else f"a list of statuses from 200 to 299 is expected, not {shown(given)}"


def _range(given: Any) -> str | None:
    sound = _statuses(given) is None and len(given) == 2 and given[0] <= given[1]
    return None if sound else f"two statuses from 200 to 299, the lower first, are expected, not {shown(given)}"


def _is_success(given: Any) -> bool:
    return type(given) is int and 200 <= given <= 299


def _truth(given: Any) -> str | None:
    return None if isinstance(given, bool) else f"true or false is expected, not {shown(given)}"


def _anything(given: Any) -> str | None:
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return f"a value that JSON has is expected, not {shown(given)}"
    return None


def _comparable(given: Any) -> str | None:
    sound = isinstance(given, int | float | str) and not isinstance(given, bool) and _anything(given) is None
    return None if sound else f"a number or a text is expected, not {shown(given)}"


def _length(given: Any) -> str | None:
    return None if type(given) is int and given >= 0 else f"a whole number from 0 is expected, not {shown(given)}"


def _path_fault(given: Any) -> str | None:
    from celery_jobs.assertions import json_path  # its library takes long to load, and most apps have no such assertion

    return json_path.fault(given)


def _milliseconds(given: Any) -> str | None:
    sound = isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < float("inf")
    return None if sound else f"a number of milliseconds above 0 is expected, not {shown(given)}"


_TYPES = {
    "status": _Type({"in": _statuses, "between": _range}),
    "header": _Type({"equals": _text, "contains": _text, "matches": patterns.fault}, "name", _text),
    "body": _Type({"contains": _text, "matches": patterns.fault}),
    "json": _Type(
        {
            "exists": _truth,
            "equals": _anything,
            "!=": _anything,
            **dict.fromkeys(("<", "<=", ">", ">="), _comparable),
            "length": _length,
        },
        "path",
        _path_fault,
    ),
    "duration": _Type({"below_ms": _milliseconds}),
}
_EXAMPLE = '{"type": "body", "contains": "ok"}'
