"""A filter as an address or a form has it: its fields as texts, read, and what is wrong with each."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery_jobs.amounts import read_moment
from celery_jobs.store.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FIELDS", "FilterForm", "quoted", "read_filter"]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(f"a whole number from 1 is expected, not {text!r}")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"true or false is expected, not {text!r}")
    return text == "true"


LONGEST = 1024
"""Characters of a field."""

_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("status", "final_status", "queue", "task", "error_type", "error", "original", "replay_of"), str),
    **dict.fromkeys(("created_after", "created_before", "dead_lettered_after", "dead_lettered_before"), read_moment),
    "attempts": _count,
    "ended": _truth,
}

FIELDS = (*_READ, "tag")
"""What a filter may ask for."""


@dataclass(frozen=True, slots=True)
class FilterForm:
    """A filter as it was given: `texts` by field, what they mean, and what is wrong by field."""

    texts: dict[str, Any] = field(default_factory=dict)
    where: Any = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """What a field says, as a form shows it."""
        said = self.texts.get(name, "")
        return ", ".join(said) if isinstance(said, list) else str(said)

    def query(self, **instead: Any) -> dict[str, Any]:
        """The fields as an address has them, with others instead; None leaves one out."""
        return {name: said for name, said in {**self.texts, **instead}.items() if said is not None}


def read_filter(given: Mapping[str, list[str]]) -> FilterForm:
    """Read the fields of a filter among what was given; what is empty is not asked."""
    texts: dict[str, Any] = {}
    where: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name in FIELDS:
        said = [text.strip() for text in given.get(name, []) if text.strip()]
        if name == "tag":
            said = [tag for text in said for tag in _tags(text)]
        if not said:
            continue
        texts[name] = [quoted(tag) for tag in said] if name == "tag" else said[-1]
        try:
            where[name] = _read(name, said)
        except (ValueError, OverflowError) as error:
            errors[name] = str(error).removeprefix(f"{name}: ")
    return FilterForm(texts, where, errors)


def _tags(text: str) -> list[str]:
    """Tags one after the other, as CSV has them: one with a comma is in quotes."""
    if len(text) > LONGEST:
        return [text]  # and is refused
    (row,) = csv.reader([" ".join(text.splitlines())], skipinitialspace=True)
    return [tag.strip() for tag in row if tag.strip()]


def quoted(tag: str) -> str:
    """A tag as a filter has it in a form or an address."""
    return '"' + tag.replace('"', '""') + '"' if "," in tag or tag.startswith('"') else tag


def _read(name: str, said: list[str]) -> Any:
    if any(len(text) > LONGEST for text in said):
        raise ValueError(f"at most {LONGEST:,} characters are taken")
    value: Any = said if name == "tag" else _READ[name](said[-1])
    Filter(**{name: value})
    return value
