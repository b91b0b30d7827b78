"""Where a follower is in a stream of events, as a short text that it may keep and give back."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celery_jobs.ids import parse_id
from celery_jobs.moments import EPOCH, microseconds

if TYPE_CHECKING:
    from celery_jobs.run_events import Entry

__all__ = ["ChainCursor", "NewsCursor"]

BEGINNING = (0, 0, 0)

_OF_CHAIN = re.compile(r"([0-9a-f]{32})\.(\d+)-(\d)-(\d+)((?:\.[0-9a-f]+)*)", re.ASCII)
_OF_NEWS = re.compile(r"(\d{1,18})\.([01])\.([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ChainCursor:
    """What a follower of one chain has been told: its own course up to a place, and what came beside it, by name."""

    original_id: str
    place: tuple[int, int, int] = BEGINNING
    beside: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str | None, original_id: str) -> ChainCursor:
        """A follower's own cursor; None: from the beginning. Raises ValueError for what is none of this chain."""
        if text is None:
            return cls(original_id)
        found = _OF_CHAIN.fullmatch(text)
        if found is None or found[1] != original_id.replace("-", ""):
            raise ValueError(f"since: the cursor of an event of the run {original_id} is expected, not {text!r}")
        number, stage, more = map(int, found.group(2, 3, 4))
        return cls(original_id, (number, stage, more), tuple(found[5].split(".")[1:]))

    def knows(self, entry: Entry) -> bool:
        """Whether it was told before."""
        return entry.name in self.beside if entry.place is None else entry.place <= self.place

    def behind(self, entry: Entry) -> ChainCursor:
        """The cursor once this is told too."""
        if entry.place is None:
            return replace(self, beside=(*self.beside, entry.name))
        return replace(self, place=entry.place)

    def __str__(self) -> str:
        """The text, without blanks."""
        head = f"{self.original_id.replace('-', '')}.{'-'.join(map(str, self.place))}"
        return ".".join([head, *self.beside])


@dataclass(frozen=True, slots=True, order=True)
class NewsCursor:
    """The last event of many runs that a follower was told: they come in this order."""

    at: datetime
    has_ended: bool = False
    original_id: str = ""

    @classmethod
    def read(cls, text: str) -> NewsCursor:
        """A follower's own cursor. Raises ValueError for what is none."""
        found = _OF_NEWS.fullmatch(text)
        if found is None:
            raise ValueError(f"since: the cursor of an event of a filter is expected, not {text!r}")
        try:
            at = EPOCH + timedelta(microseconds=int(found[1]))
        except OverflowError:
            raise ValueError(f"since: a moment before the year 10000 is expected, not {text!r}") from None
        return cls(at, found[2] == "1", str(parse_id(found[3])))

    def __str__(self) -> str:
        """The text, without blanks."""
        return f"{microseconds(self.at)}.{int(self.has_ended)}.{self.original_id.replace('-', '')}"
