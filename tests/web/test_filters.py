"""Filters as forms and addresses have them."""

from __future__ import annotations

import pytest

from celery_jobs.web.filters import LONGEST, read_filter

TAGS = [
    ("a, key:value", ["a", "key:value"]),
    ('"a, b", c', ["a, b", "c"]),
    ('"a ""b"", c"', ['a "b", c']),
    ('a "b" c', ['a "b" c']),
    ("a,,b,", ["a", "b"]),
    ("a\nb", ["a b"]),
    ('"open, and never closed', ["open, and never closed"]),
]


@pytest.mark.parametrize(("text", "tags"), TAGS)
def test_tags_are_one_after_the_other_and_come_back_as_they_were(text: str, tags: list[str]) -> None:
    form = read_filter({"tag": [text]})
    assert form.where == {"tag": tags}
    assert read_filter({"tag": [form["tag"]]}).where == {"tag": tags}, "as the form shows it"
    assert read_filter({"tag": form.query()["tag"]}).where == {"tag": tags}, "as the address has it"


def test_a_text_that_is_too_long_is_refused() -> None:
    form = read_filter({"tag": [",".join("x" * 200_000)]})
    assert f"{LONGEST:,}" in form.errors["tag"]
