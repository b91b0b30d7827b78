"""Masking the values of keys that nobody shall read: in every output, never in what runs (`jobs_redact`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

__all__ = ["MASK", "redact", "redact_json", "redact_text"]

MASK = "***"


def redact(value: Any, names: frozenset[str]) -> Any:
    """Give `value` with what stands under a key of `names` (in lower case) masked, however deep and in any case."""
    if not names:
        return value
    if isinstance(value, str):
        return redact_text(value, names)
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(key, str) and key.lower() in names else redact(inner, names)
            for key, inner in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [redact(inner, names) for inner in value]
    return value


def redact_text(text: str, names: frozenset[str]) -> str:
    """Mask in free text what follows a key of `names` and a `:` or `=`: a quoted text, what a bracket holds, or words.

    Rather too much is masked than too little.
    """
    if not names:
        return text
    parts, at = [], 0
    while key := _keys(names).search(text, at):
        parts += [text[at : key.end()], MASK]
        at = _end_of_value(text, key.end())
    return "".join([*parts, text[at:]])


@lru_cache(maxsize=16)
def _keys(names: frozenset[str]) -> re.Pattern[str]:
    keys = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return re.compile(rf"""(?<!\w)(?:{keys})(?:\\*["'])?\s*[:=]\s*(?=\S)""", re.IGNORECASE)


_QUOTED = re.compile(r"""[bBrRuU]{0,2}(\\*["']).*?(?<!\\)\1""", re.DOTALL)
"""A text in quotes; those of a text inside another have backslashes, each of its own as many more."""

_QUOTE = re.compile(r"""[bBrRuU]{0,2}\\*["']""")
_OPENED = re.compile(r"[\w.]*[\[({]")
_INSIDE = re.compile(rf"({_QUOTED.pattern})|[\[({{]|[\])}}]".replace(r"\1", r"\2"), re.DOTALL)
_WORDS = re.compile(r"[^,;&)\]}\n]*")
"""There may be blanks in it: `Bearer x`."""


def _end_of_value(text: str, start: int) -> int:
    if quoted := _QUOTED.match(text, start):
        return quoted.end()
    if _QUOTE.match(text, start):
        return len(text)  # the text was cut inside of it
    if opened := _OPENED.match(text, start):
        return _end_of_bracket(text, opened.end())
    words = _WORDS.match(text, start)
    return start if words is None else words.end()


def _end_of_bracket(text: str, start: int) -> int:
    """Behind the bracket that closes the one opened before `start`; the end of the text where none does."""
    depth = 1
    for found in _INSIDE.finditer(text, start):
        if found[1] is None:
            depth += 1 if found[0] in "[({" else -1
        if depth == 0:
            return found.end()
    return len(text)


def redact_json(text: str | None, names: frozenset[str]) -> str | None:
    """The same for a stored JSON text."""
    if text is None or not names:
        return text
    return json.dumps(redact(json.loads(text), names))
