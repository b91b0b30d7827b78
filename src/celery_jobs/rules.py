"""The rules of settings: what a value of each type must be, in words."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import LONGEST_WAIT
from celery_jobs.policy import MAX_ATTEMPTS
from celery_jobs.rates import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RULES", "Rule", "unknown"]


ROLES = ("viewer", "operator", "admin")
"""What who signs in to Flower may be."""

MOST_PLACES = 1_000_000
"""Of a queue; a number like none at all."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be: in words, and as a question."""

    expected: str
    accepts: Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


RULES: dict[str, Rule] = {
    "bool": Rule("True or False", lambda v: isinstance(v, bool)),
    "int": Rule("a whole number above 0", lambda v: _number(v) and isinstance(v, int)),
    "float": Rule("a number above 0", _number),
    "str": Rule("a text", lambda v: isinstance(v, str) and v != ""),
    "tuple[str, ...]": Rule(
        "a list of texts",
        lambda v: isinstance(v, list | tuple | set | frozenset) and all(isinstance(n, str) and n for n in v),
    ),
    "tuple[int, ...]": Rule(
        "a list of whole numbers above 0",
        lambda v: isinstance(v, list | tuple) and all(_number(n) and isinstance(n, int) for n in v),
    ),
    "tuple[float, ...]": Rule(
        f"a list of numbers above 0, at most {LONGEST_WAIT:,}",
        lambda v: isinstance(v, list | tuple) and all(_number(n) and n <= LONGEST_WAIT for n in v),
    ),
    "Roles": Rule(
        f"a dictionary of names, each with a role of {', '.join(ROLES)},",
        lambda v: isinstance(v, dict) and all(isinstance(name, str) and role in ROLES for name, role in v.items()),
    ),
    "Mode": Rule("'celery' or 'pull'", lambda v: v in ("celery", "pull")),
    "float | None": Rule("a number above 0, or None", lambda v: v is None or _number(v)),
    "Places | None": Rule(
        f"a whole number from 1 to {MOST_PLACES:,}, or None",
        lambda v: v is None or (_number(v) and isinstance(v, int) and v <= MOST_PLACES),
    ),
    "Starts | None": Rule(
        "a whole number above 0 with /s, /m or /h behind it, such as '100/m', or None",
        lambda v: v is None or parse_rate(v) is not None,
    ),
    "int | None": Rule(
        f"a whole number from 1 to {MAX_ATTEMPTS}, or None",
        lambda v: v is None or (_number(v) and isinstance(v, int) and v <= MAX_ATTEMPTS),
    ),
}
"""By the type of a setting, as it is written."""


def unknown(name: str, known: list[str]) -> str:
    """What is wrong with the name of a setting, and the nearest right one."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
    return f"{name} is not a setting{hint}"
