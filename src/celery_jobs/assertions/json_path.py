"""JSON paths of assertions, as RFC 9535 has them: read strictly, followed for a bounded time."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonpath import JSONPathEnvironment, JSONPathError
from jsonpath.function_extensions import Match, Search

from celery_jobs.assertions.answer import NoJson, shown
from celery_jobs.assertions.patterns import MOST_SECONDS, look, seconds_left

if TYPE_CHECKING:
    from jsonpath import JSONPath

    from celery_jobs.assertions.answer import Seen

__all__ = ["fault", "instead"]

MOST_CHARACTERS = 1000
"""Of a path."""

MOST_FOUND = 10_000
"""Values that a path may find."""


class _Bounded:
    """The standard's two functions with regular expressions, held to the time that is left."""

    def __call__(self, value: object, pattern: object) -> bool:
        if not isinstance(value, str) or not isinstance(pattern, str):
            return False
        found: Any = self.check_cache(pattern)  # type: ignore[attr-defined]
        return found is not None and self.look(found, value)

    def look(self, pattern: Any, text: str) -> bool:
        return pattern.search(text, timeout=seconds_left()) is not None


class _Search(_Bounded, Search):
    pass


class _Match(_Bounded, Match):
    def look(self, pattern: Any, text: str) -> bool:
        return pattern.fullmatch(text, timeout=seconds_left()) is not None


class _Object(dict[str, Any]):
    """An object of a body, which looks at the clock: a path may go through it more often than anybody can wait."""

    def items(self) -> Any:
        look()
        return super().items()

    def values(self) -> Any:
        look()
        return super().values()

    def __iter__(self) -> Any:
        look()
        return super().__iter__()

    def __getitem__(self, key: str) -> Any:
        look()
        return super().__getitem__(key)


class _Array(list[Any]):
    """The same for a list."""

    def __iter__(self) -> Any:
        look()
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        look()
        return super().__getitem__(index)


def _watched(value: Any) -> Any:
    if type(value) is list:
        return _Array(map(_watched, value))
    return _Object((key, _watched(item)) for key, item in value.items()) if type(value) is dict else value


_ENVIRONMENT = JSONPathEnvironment(strict=True)
_ENVIRONMENT.function_extensions.update(search=_Search(thread_safe=True), match=_Match(thread_safe=True))


@lru_cache(maxsize=256)
def _compiled(path: str) -> JSONPath:
    found: Any = _ENVIRONMENT.compile(path)
    return found  # type: ignore[no-any-return]  # strict paths are never compound


def fault(path: Any) -> str | None:
    """What is wrong with a path, in words."""
    if not isinstance(path, str) or not 1 <= len(path) <= MOST_CHARACTERS:
        return f"a JSON path of 1 to {MOST_CHARACTERS:,} characters is expected, not {path!r:.200}"
    try:
        _compiled(path)
    except Exception as error:  # its own errors and, for odd texts, others
        said = error.args[0] if error.args else type(error).__name__
        return f"{path!r:.200} is not a JSON path as RFC 9535 has them, such as $.data.id: {said}"
    return None


def instead(path: str, test: str, value: Any, seen: Seen) -> str | None:
    """What a body has at a path instead of what a test wants; None where all that the path finds is as wanted."""
    try:
        return _followed(_compiled(path), test, value, _watched(seen.json))
    except NoJson as error:
        return str(error)
    except TimeoutError:
        return f"following it took longer than {MOST_SECONDS:g} s"
    except (JSONPathError, RecursionError) as error:
        return f"it cannot be followed: {error.args[0] if error.args else 'it is nested too deep'}"


def _followed(query: JSONPath, test: str, value: Any, body: Any) -> str | None:
    found = [match.obj for match in islice(query.finditer(body), MOST_FOUND + 1)]
    if len(found) > MOST_FOUND:
        return f"it finds more than {MOST_FOUND:,} values"
    if test == "length" and not query.singular_query():
        return None if len(found) == value else f"it finds {len(found):,} values"
    return _judge(found, test, value)


def _judge(found: list[Any], test: str, value: Any) -> str | None:
    if test == "exists":
        return None if bool(found) == value else f"was {_written(found[0])}" if found else "is not there"
    if not found:
        return "is not there"
    others = [item for item in found if not _holds(test, item, value)]
    if not others:
        return None
    wrong = others[0]
    length = f", which has the length {len(wrong):,}" if test == "length" and _has_length(wrong) else ""
    return f"was {_written(wrong)}{length}"


def _holds(test: str, item: Any, value: Any) -> bool:
    if test in ("equals", "!="):
        return _same(item, value) == (test == "equals")
    if test == "length":
        return _has_length(item) and len(item) == value
    both_numbers = _is_number(item) and _is_number(value)
    if not both_numbers and not (isinstance(item, str) and isinstance(value, str)):
        return False
    ordered: dict[str, bool] = {"<": item < value, "<=": item <= value, ">": item > value, ">=": item >= value}
    return ordered[test]


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON has it: 1 is 1.0 and is not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _has_length(value: Any) -> bool:
    return isinstance(value, str | list | dict)


def _written(value: Any) -> str:
    return shown(json.dumps(value, ensure_ascii=False), quoted=False)
