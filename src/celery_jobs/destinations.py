"""Where alerts go: Apprise URLs for all queues or by queue. They carry passwords and tokens, and show neither."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Destination", "Destinations", "read_destinations"]

OTHERS = "*"
"""The name that stands for every queue that has no list of its own."""

_SCHEMA = re.compile(r"^([a-z][a-z0-9+.-]*):/")


@dataclass(frozen=True, slots=True)
class Destination:
    """One URL as Apprise reads it, such as `slack://…` or `mailto://…`."""

    url: str = field(repr=False)

    @property
    def schema(self) -> str:
        """What may be shown of it: the kind of service."""
        found = _SCHEMA.match(self.url.lower())
        return found[1] if found else "?"

    def __str__(self) -> str:
        return f"{self.schema}://***"


@dataclass(frozen=True, slots=True, repr=False)
class Destinations:
    """The destinations of each queue; those of `others` are for every queue that has none of its own."""

    others: tuple[Destination, ...] = ()
    queues: Mapping[str, tuple[Destination, ...]] = field(default_factory=dict)

    def of(self, queue: str | None) -> tuple[Destination, ...]:
        """Those of a queue; None: those of a queue that has none of its own."""
        return self.others if queue is None else self.queues.get(queue, self.others)

    def everybody(self) -> tuple[Destination, ...]:
        """All there are, each once."""
        return tuple(dict.fromkeys(found for some in (self.others, *self.queues.values()) for found in some))

    def __repr__(self) -> str:
        """As the setting was written, without what is secret."""
        others = [str(destination) for destination in self.others]
        if not self.queues:
            return repr(others)
        return repr({**{name: [str(to) for to in some] for name, some in self.queues.items()}, OTHERS: others})

    def __bool__(self) -> bool:
        return any(self.everybody())


def read_destinations(given: Any) -> tuple[Destinations, list[str]]:
    """The destinations of a setting, and what is wrong with it; no fault shows a URL."""
    if isinstance(given, Destinations):
        return given, []
    faults: list[str] = []
    if not isinstance(given, Mapping):
        return Destinations(_read(given, "", faults)), faults
    lists = {str(queue): _read(urls, f"[{str(queue)!r}]", faults) for queue, urls in given.items()}
    return Destinations(lists.pop(OTHERS, ()), lists), faults


def _read(given: Any, where: str, faults: list[str]) -> tuple[Destination, ...]:
    if not isinstance(given, list | tuple):
        faults.append(f"{where} a list of Apprise URLs is expected, not a {type(given).__name__}".strip())
        return ()
    found: list[Destination] = []
    for number, url in enumerate(given, 1):
        if isinstance(url, Destination):
            found.append(url)
        elif isinstance(url, str) and _SCHEMA.match(url.lower()):
            found.append(Destination(url))
        else:
            faults.append(f"{where} number {number}: an Apprise URL such as mailto://… is expected".strip())
    return tuple(found)
