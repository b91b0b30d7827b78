"""Texts of others: none takes long to look at, none is made into anything but a text again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import JobsError
from celery_jobs.addresses import parse_url
from celery_jobs.amounts import read_duration, read_rate
from celery_jobs.assertions.answer import _charset
from celery_jobs.cursors import ChainCursor, NewsCursor
from celery_jobs.destinations import read_destinations
from celery_jobs.envelope import _HEADERS
from celery_jobs.redaction import redact_text
from celery_jobs.web.grant import role_of
from celery_jobs.words import one_line, safe

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = frozenset({"token", "password"})

LOOKS: dict[str, Callable[[str], Any]] = {
    "redact": lambda text: redact_text(text, NAMES),
    "safe": safe,
    "one line": one_line,
    "duration": read_duration,
    "rate": read_rate,
    "url": parse_url,
    "destinations": lambda text: read_destinations([text]),
    "charset": _charset,
    "cursor": NewsCursor.read,
    "cursor of a run": lambda text: ChainCursor.read(text, "x"),
    "headers": _HEADERS.fullmatch,
    "role": lambda text: role_of(text, {"*@example.com": "viewer", "a*b*c": "admin"}),
}

TEXTS: dict[str, Callable[[int], str]] = {
    "a letter": lambda n: "a" * n,
    "digits": lambda n: "1" * n + "x",
    "digits and dots": lambda n: "1." * (n // 2) + "x",
    "blanks": lambda n: "1" + " " * n + "x",
    "names": lambda n: "token " * (n // 6),
    "named": lambda n: "token: " * (n // 7),
    "open brackets": lambda n: "token: " + "[" * n,
    "quotes": lambda n: "token: [" + "'\"" * (n // 2),
    "one quote": lambda n: "token: '" + "x" * n,
    "backslashes": lambda n: "token='" + "\\" * n,
    "urls": lambda n: "http://" + "a." * (n // 2) + "@",
    "an address": lambda n: "http://[" + ":" * n,
    "charsets": lambda n: "charset" + " " * n + "charset",
    "headers": lambda n: "{" + '"a": 1, ' * (n // 8) + '"eta": 1',
    "stars": lambda n: "a" + "b" * n + "@",
    "line ends": lambda n: "\n" * n,
}

SMALL, LARGE = 50_000, 200_000


@pytest.mark.parametrize("look", LOOKS)
def test_no_text_takes_longer_than_its_length(look: str) -> None:
    for text, make in TEXTS.items():
        small, large = (_fastest(LOOKS[look], make(size)) for size in (SMALL, LARGE))
        # Four times the text: what looks again and again takes sixteen times as long.
        assert large < 0.05 or large < 9 * small, (text, small, large)


def _fastest(look: Callable[[str], Any], text: str) -> float:
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        with contextlib.suppress(ValueError, JobsError):
            look(text)
        took.append(time.perf_counter() - begun)
    return min(took)
