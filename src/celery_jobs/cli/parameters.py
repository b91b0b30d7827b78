"""The values that options take: moments, durations, rates, JSON; what is wrong is said in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from celery_jobs.amounts import read_duration, read_expiry, read_moment, read_rate, read_window

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DURATION", "EXPIRY", "MOMENT", "NON_EMPTY", "RATE", "WINDOW", "JsonType"]


class Parsed(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """A text that a function reads; its ValueError says what was expected."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a text; what is read already stays."""
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


class JsonType(Parsed):
    """A JSON value of one kind; where it is none, the place is named."""

    def __init__(self, kind: type, noun: str) -> None:
        super().__init__("json", self._read)
        self.kind = kind
        self.noun = noun

    def _read(self, text: str) -> Any:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
            raise ValueError(f"not JSON at {where}: {error.msg}") from None
        if not isinstance(value, self.kind):
            raise ValueError(f"{self.noun} is expected, not {text}")
        return value


def _non_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


DURATION = Parsed("duration", read_duration)
WINDOW = Parsed("duration", read_window)
MOMENT = Parsed("moment", read_moment)
EXPIRY = Parsed("expiry", read_expiry)
RATE = Parsed("rate", read_rate)
NON_EMPTY = Parsed("text", _non_empty)
