"""The values that options take: moments, durations, rates, JSON; what is wrong is said in one line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DURATION", "EXPIRY", "MOMENT", "NON_EMPTY", "RATE", "WINDOW", "JsonType"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?", re.ASCII)


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


def _duration(text: str) -> float:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"seconds, or a time such as 30s, 5m or 2h, are expected, not {text!r}")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def _window(text: str) -> float:
    seconds = _duration(text)
    if seconds == 0:
        raise ValueError("a time above 0 such as 15m is expected")
    return seconds


def _moment(text: str) -> datetime:
    found = _AMOUNT.fullmatch(text.strip())
    if found is not None and found[2]:
        try:
            return datetime.now(UTC) - timedelta(seconds=_duration(text))
        except OverflowError:
            raise ValueError(f"{text!r} ago is before the year 1") from None
    try:
        return _in_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise ValueError(f"an ISO 8601 moment, or an age such as 30m, 2h or 7d, is expected, not {text!r}") from None


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _expiry(text: str) -> float | datetime:
    try:
        return _duration(text)
    except ValueError:
        try:
            return _in_utc(datetime.fromisoformat(text.strip()))
        except (ValueError, OverflowError):
            raise ValueError(f"seconds, a time such as 2h, or an ISO 8601 moment is expected, not {text!r}") from None


def _rate(text: str) -> float:
    found = _RATE.fullmatch(text.strip())
    rate = float(found[1]) / _SECONDS[found[2] or "s"] if found else 0.0
    if rate <= 0:
        raise ValueError(f"a rate above 0 such as 50/s or 3000/m is expected, not {text!r}")
    return rate


def _non_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


DURATION = Parsed("duration", _duration)
WINDOW = Parsed("duration", _window)
MOMENT = Parsed("moment", _moment)
EXPIRY = Parsed("expiry", _expiry)
RATE = Parsed("rate", _rate)
NON_EMPTY = Parsed("text", _non_empty)
