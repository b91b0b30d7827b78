"""Words for people, and tables cut to a width."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from celery_jobs.cli.tables import Column, print_table
from celery_jobs.words import age, error_line, one_line, safe, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0ms"),
        (0.0874, "87ms"),
        (0.9999, "1s"),
        (1.24, "1.2s"),
        (9.97, "10s"),
        (59.7, "1m"),
        (60, "1m"),
        (90, "1m 30s"),
        (1800, "30m"),
        (3601, "1h"),
        (10_800, "3h"),
        (93_600, "1d 2h"),
    ],
)
def test_a_span_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(-5, "0s"), (59, "59s"), (61, "1m"), (7300, "2h"), (200_000, "2d")])
def test_an_age_has_one_unit(seconds: float, words: str) -> None:
    assert age(datetime.now(UTC) - timedelta(seconds=seconds + 0.5)) == words


def test_safe_text_keeps_lines_and_loses_what_steers_a_terminal() -> None:
    assert safe("a\tb\nc\x1b[2J\x9b1m\r\x00\u2066d") == "a\tb\nc[2J1md"


def test_one_line_is_the_first_that_says_something() -> None:
    assert one_line("\n \x1b\n  first\tone \nsecond") == "first one"
    assert one_line(None) == ""
    assert error_line("requests.ConnectionError", "away\nmore") == "ConnectionError: away"


class Paper:
    """A screen of a width that keeps its lines."""

    def __init__(self, width: int | None) -> None:
        self.width = width
        self.lines: list[str] = []

    def print(self, line: object = "") -> None:
        self.lines.append(str(line))


COLUMNS = (
    Column("ID"),
    Column("NAME", least=4, keeps_end=True),
    Column("LONG TIME", rank=1),
    Column("AGE", rank=2, instead_of="LONG TIME"),
    Column("NOTE", rank=3, least=5),
)
ROW = ["12345", "a.dotted.name", "2026-04-10", "3d", "something to say"]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (None, "12345  a.dotted.name  2026-04-10  something to say"),
        (60, "12345  a.dotted.name  2026-04-10  something to say"),
        (40, "12345  …ted.name  2026-04-10  something…"),
        (22, "12345  …tted.name  3d"),
        (12, "12345  …name"),
        (3, "12345  …ame"),
    ],
)
def test_a_table_cuts_and_leaves_out_what_matters_less(width: int | None, line: str) -> None:
    paper = Paper(width)
    print_table(paper, COLUMNS, [ROW])  # type: ignore[arg-type]
    assert paper.lines[1] == line


def test_a_column_in_which_nothing_is_said_is_left_out_on_a_screen() -> None:
    paper = Paper(80)
    print_table(paper, COLUMNS, [[*ROW[:4], ""]])  # type: ignore[arg-type]
    assert "NOTE" not in paper.lines[0]


def test_wide_characters_take_their_two_cells() -> None:
    paper = Paper(12)
    print_table(paper, COLUMNS[:2], [["12345", "日本語日本語"]])  # type: ignore[arg-type]
    assert paper.lines[1] == "12345  …本語"
