"""A response as assertions see it: its text and its JSON read once, what is shown of it short."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "NoJson", "Seen", "shown"]

MOST_SHOWN = 200
"""Characters of what was there instead."""

_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)


_QUICK = re.compile(r"ascii|utf-?(8|16|32)|iso8859|cp125|koi8|shift_jis|euc_|gb|big5")
"""Beginnings of charsets that are read at once; Python has others, such as punycode, whose time is quadratic."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    """As much of it as was read."""
    truncated: bool
    """Whether there was more."""
    duration_ms: int


class NoJson(ValueError):
    """The body is no JSON; says why."""


class Seen:
    """An answer on which several assertions look."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        return self.answer.headers.get(name.lower())

    @cached_property
    def text(self) -> str:
        """The body as text, in the charset that its header names, else UTF-8."""
        named = _CHARSET.search(self.header("content-type") or "")
        return self.answer.body.decode(_charset(named[1]) if named else "utf-8", "replace")

    @property
    def cut(self) -> str:
        """What is to be said of a body that was not read to its end."""
        return f" (its first {len(self.answer.body):,} bytes)" if self.answer.truncated else ""

    @cached_property
    def _read(self) -> Any:
        """The JSON value, or what keeps it from being one; read once also where it is none."""
        if self.answer.truncated:
            return NoJson(f"the body is longer than the {len(self.answer.body):,} bytes that are read")
        try:
            return json.loads(self.answer.body)
        except (ValueError, RecursionError):
            return NoJson(f"the body is not JSON: {shown(self.text)}")

    @property
    def json(self) -> Any:
        """The body as JSON; raises NoJson."""
        if isinstance(self._read, NoJson):
            raise self._read
        return self._read


def _charset(name: str) -> str:
    """A charset that a server names, where it is one that can be read quickly; else UTF-8."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
    return found if _QUICK.match(found) else "utf-8"


def shown(value: Any, quoted: bool = True) -> str:
    """A value for a sentence, cut to 200 characters; `quoted` False: a text as it is."""
    text = repr(value[: MOST_SHOWN + 1] if isinstance(value, str) else value) if quoted else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
