from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

import pytest

from celery_jobs.store.text import clean, error_message, error_traceback, error_type, result_text

LIMIT = 65_536


def _strict(text: str | None) -> Any:
    """Read JSON as the standard has it: Python's NaN and Infinity are none."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    assert text is not None
    return json.loads(text, parse_constant=refuse)


def _storable(text: str) -> bool:
    return "\x00" not in text and text == text.encode().decode()


class Unspeakable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


@pytest.mark.parametrize("text", ["", "plain", "ünïcödé 🎉", "a\nb\t", "\ufffd"])
def test_good_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text
    assert clean(text, 100) == text


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "a\udfff\x00b", "\ud83d"])
@pytest.mark.parametrize("limit", [None, 100])
def test_what_no_database_takes_is_replaced(text: str, limit: int | None) -> None:
    cleaned = clean(text, limit)
    assert _storable(cleaned)
    assert "\ufffd" in cleaned
    assert cleaned.replace("\ufffd", "") == "".join(c for c in text if c in "ab")


@pytest.mark.parametrize("letter", ["x", "é", "🎉", "\ud800"])
def test_long_text_is_cut_to_bytes_with_a_mark(letter: str) -> None:
    cut = clean(letter * 1000, 200)
    assert len(cut.encode()) <= 200
    assert f"{1000 * len(letter.encode('utf-8', 'surrogatepass')):,} bytes in all" in cut
    assert _storable(cut)


def test_text_of_just_the_limit_is_not_cut() -> None:
    assert clean("é" * 100, 200) == "é" * 100
    assert clean("é" * 100, 199) != "é" * 100


@pytest.mark.parametrize(
    "result", [0, False, "", [], {}, 1.5, "text", [1, [2]], {"a": None, "b": {"c": "é🎉"}}, "a\x00b", "\ud800"]
)
def test_a_result_that_json_can_say_is_kept_exactly(result: Any) -> None:
    text = result_text(result, LIMIT)
    assert _strict(text) == result
    assert text is not None
    assert _storable(text)


def test_no_result_is_none() -> None:
    assert result_text(None, LIMIT) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: {"a": {"b": n}}])
def test_a_number_that_json_has_not_is_still_valid_json(number: float, wrap: Any) -> None:
    assert str(number) in json.dumps(_strict(result_text(wrap(number), LIMIT)))


@pytest.mark.parametrize(
    ("result", "part"),
    [
        (Decimal("1.5"), "Decimal('1.5')"),
        ({"at": datetime(2026, 4, 10, tzinfo=UTC)}, "datetime.datetime(2026, 4, 10"),
        (b"bytes", "b'bytes'"),
        ({1, 2}, "{1, 2}"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (Unspeakable(), "repr of Unspeakable raised ZeroDivisionError"),
        ([Unspeakable()], "repr of Unspeakable raised ZeroDivisionError"),
        ({Unspeakable(): 1}, "raised ZeroDivisionError"),
        (10**5000, "raised ValueError"),
    ],
    ids=["decimal", "time", "bytes", "set", "key", "unspeakable", "unspeakable item", "unspeakable key", "huge number"],
)
def test_what_json_cannot_say_is_kept_by_its_repr(result: Any, part: str) -> None:
    assert part in json.dumps(_strict(result_text(result, LIMIT)))


def test_a_result_that_contains_itself_is_kept_by_its_repr() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert _strict(result_text(loop, LIMIT)) == "[[...]]"


def test_a_mapping_that_cannot_be_read_is_still_valid_json() -> None:
    class Broken(dict[str, int]):
        def items(self) -> NoReturn:
            raise RuntimeError("changed size during iteration")

    assert "1" in _strict(result_text(Broken(a=1), LIMIT))


def test_a_result_nested_20000_deep_is_still_valid_json() -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    assert "RecursionError" in _strict(result_text(deep, LIMIT))


@pytest.mark.parametrize(
    "result",
    [
        "x" * 1_000_000,
        '"' * 1_000_000,
        "\\" * 1_000_000,
        "\x00" * 1_000_000,
        "é🎉" * 300_000,
        "\ud800" * 1_000_000,
        list(range(100_000)),
        {"key" * 100_000: 1},
    ],
    ids=["plain", "quotes", "backslashes", "NUL", "unicode", "surrogates", "list", "key"],
)
def test_a_long_result_is_cut_to_64_kib_and_still_valid_json(result: Any) -> None:
    text = result_text(result, LIMIT)
    assert text is not None
    assert LIMIT // 4 < len(text.encode()) <= LIMIT
    assert "bytes in all]" in _strict(text)
    assert _storable(text)


def test_a_result_of_just_the_limit_is_kept() -> None:
    assert _strict(result_text("x" * (LIMIT - 2), LIMIT)) == "x" * (LIMIT - 2)
    assert _strict(result_text("x" * (LIMIT - 1), LIMIT)) != "x" * (LIMIT - 1)


def test_an_error_is_named_as_a_person_writes_it() -> None:
    assert error_type(ValueError()) == "ValueError"
    assert error_type(UnspeakableError()) == f"{__name__}.UnspeakableError"
    assert error_type(json.JSONDecodeError("x", "y", 0)) == "json.decoder.JSONDecodeError"


@pytest.mark.parametrize("name", ["a\x00b", "a\ud800b", "x" * 5_000])
def test_an_error_whose_class_has_a_name_that_no_database_takes_is_named(name: str) -> None:
    kind = type("Odd", (Exception,), {"__module__": "shop"})
    kind.__qualname__ = name
    said = error_type(kind())
    assert said.startswith(f"shop.{name[0]}")
    assert _storable(said)
    assert len(said.encode()) <= 1024


def test_an_error_says_what_it_says() -> None:
    assert error_message(ValueError("card declined")) == "card declined"
    assert error_message(ValueError("a\x00b\ud800")) == "a\ufffdb\ufffd\ufffd\ufffd"
    assert "raised ZeroDivisionError" in error_message(UnspeakableError())
    assert len(error_message(ValueError("x" * 50_000_000)).encode()) <= 8192


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_an_error_that_was_not_raised_has_no_traceback() -> None:
    assert error_traceback(ValueError(), LIMIT) is None


def test_a_traceback_ends_with_the_error() -> None:
    text = error_traceback(_raised(ValueError("a\x00b\ud800")), LIMIT)
    assert text is not None
    assert text.startswith("Traceback (most recent call last):")
    assert text.rstrip().endswith("ValueError: a\ufffdb\ufffd\ufffd\ufffd")
    assert _storable(text)


def test_a_traceback_of_an_unspeakable_error_is_shown() -> None:
    text = error_traceback(_raised(UnspeakableError()), LIMIT)
    assert text is not None
    assert "UnspeakableError" in text


def test_of_20000_errors_that_led_to_one_another_the_last_is_kept() -> None:
    error = _raised(ValueError("the first"))
    for number in range(20_000):
        later = _raised(KeyError(number))
        later.__cause__ = error
        error = later
    text = error_traceback(error, LIMIT)
    assert text is not None
    assert len(text.encode()) <= LIMIT
    assert text.rstrip().endswith("KeyError: 19999")


@pytest.mark.parametrize("letter", ["x", "é", "🎉"])
def test_of_a_50_mb_traceback_the_end_is_kept(letter: str) -> None:
    size = 50_000_000 // len(letter.encode())
    text = error_traceback(_raised(ValueError(letter * size + " the end")), 32_768)
    assert text is not None
    assert 32_000 < len(text.encode()) <= 32_768
    assert text.startswith("[cut, 50,000,")
    assert text.rstrip().endswith(f"{letter} the end")
    assert _storable(text)
