"""Whether a row has a tag: a list by its elements, an object by its values, or by a pair as `key:value`.

Numbers are found by what they are worth, true and false by these words; null, and what is nested, by nothing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, and_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONPATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement

__all__ = ["has_tag"]

MOST_PAIRS = 32
"""A key ends at one of so many first colons of a tag; each makes another pair."""

_NUMBER = re.compile(r"-?(0|[1-9]\d{0,99})(\.\d{1,100})?", re.ASCII)


def has_tag(tags: ColumnElement[Any], tag: str, is_sqlite: bool) -> ColumnElement[bool]:
    """Whether the column `tags` holds the tag."""
    return _is_in(tags, tag) if is_sqlite else tags.bool_op("@?")(cast(literal(_path(tag), Text), JSONPATH))


def _pairs(tag: str) -> Iterator[tuple[str, str]]:
    """Keys and values that a tag may be made of: both may have colons."""
    colons = [at for at, letter in enumerate(tag) if letter == ":"]
    return ((tag[:at], tag[at + 1 :]) for at in colons[:MOST_PAIRS])


def _path(tag: str) -> str:
    """What is asked as a path of PostgreSQL, which its index answers. Strict: a list inside is not looked into."""
    places = [("[*]", tag), (".*", tag), *((f".{json.dumps(key)}", value) for key, value in _pairs(tag))]
    return f"strict $ ? ({' || '.join(f'exists(@{place} ? ({_equals(value)}))' for place, value in places)})"


def _equals(value: str) -> str:
    is_bare = value in ("true", "false") or _NUMBER.fullmatch(value)
    return " || ".join(f"@ == {said}" for said in ([json.dumps(value), value] if is_bare else [json.dumps(value)]))


def _is_in(tags: ColumnElement[Any], tag: str) -> ColumnElement[bool]:
    """The same for SQLite, where the keys of a list are numbers, which equal no text."""
    each = func.json_each(tags).table_valued("key", "value", "type").alias("tag")
    pairs = [and_(each.c.key == key, _says(each.c, value)) for key, value in _pairs(tag)]
    return select(literal(1)).select_from(each).where(or_(_says(each.c, tag), *pairs)).exists()


def _says(each: Any, value: str) -> ColumnElement[bool]:
    said: ColumnElement[bool] = and_(each.type == "text", each.value == value)
    if value in ("true", "false"):
        return or_(said, each.type == value)
    if _NUMBER.fullmatch(value):
        return or_(said, and_(each.type.in_(("integer", "real")), each.value == _number(value)))
    return said


def _number(value: str) -> float:
    """A whole number that is too large for SQLite is a float there too."""
    return int(value) if "." not in value and abs(int(value)) < 2**63 else float(value)
