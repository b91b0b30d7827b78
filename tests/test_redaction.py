"""Masking: nested, in any case, in texts of many kinds; nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_jobs import InvalidSettings
from celery_jobs.configuration import parse_settings
from celery_jobs.redaction import MASK, redact, redact_json, redact_text

NAMES = frozenset({"password", "api_key"})


@pytest.mark.parametrize("key", ["password", "PASSWORD", "Password", "api_key", "API_KEY"])
@pytest.mark.parametrize("value", ["s3cret", 7, None, True, 1.5, ["s3cret"], {"a": "s3cret"}, ""])
def test_what_stands_under_a_name_is_masked_whatever_it_is(key: str, value: Any) -> None:
    assert redact({key: value, "other": value and "kept"}, NAMES) == {key: MASK, "other": value and "kept"}


def test_names_are_found_however_deep() -> None:
    value = {"a": [{"b": ({"password": "s3cret"}, 1)}, [[{"Api_Key": "s3cret"}]]], "n": 7}
    assert redact(value, NAMES) == {"a": [{"b": [{"password": MASK}, 1]}, [[{"Api_Key": MASK}]]], "n": 7}
    assert "s3cret" in str(value)  # what was given is as it was


def test_without_names_everything_is_as_it_is() -> None:
    value = {"password": ("a", "b")}
    assert redact(value, frozenset()) is value
    assert redact_text("password=x", frozenset()) == "password=x"
    assert redact_json('{"password": 1}', frozenset()) == '{"password": 1}'


OTHERS: list[Any] = [
    {"passwords": "kept", "pass": "kept", "my_password": "kept", "apikey": "kept", 7: "kept"},
    ["password", "kept"],
    "the password is wrong",
    "passwordless=kept",
    "api_key",
    b"bytes",
    12,
    None,
    {"": ""},
]


@pytest.mark.parametrize("value", OTHERS, ids=repr)
def test_what_is_not_named_stays(value: Any) -> None:
    assert redact(value, NAMES) == value


TEXTS = [
    "password=s3cret",
    "password: s3cret",
    "PASSWORD = s3cret",
    "login failed (password=s3cret, user=bob)",
    "{'user': 'bob', 'password': 's3cret'}",
    '{"user": "bob", "password": "s3cret"}',
    "{'Password': 's3cret, with a comma', 'user': 'bob'}",
    "{'password': 'it\\'s s3cret', 'user': 'bob'}",
    "{'password': b's3cret, s3cret', 'user': 'bob'}",
    "{'password': ['a', 's3cret'], 'user': 'bob'}",
    "{'password': {'old': {'a': 1}, 'new': 's3cret'}, 'user': 'bob'}",
    "{'password': [['a'], 's3cret'], 'user': 'bob'}",
    "{'password': ('a', ('b',), 's3cret'), 'user': 'bob'}",
    "{'password': {'old': '}', 'new': 's3cret'}, 'user': 'bob'}",
    '{\\"user\\": \\"bob\\", \\"password\\": \\"s3cret\\"}',
    '"{\\"password\\": \\"it is, s3cret\\", \\"user\\": \\"bob\\"}"',
    "api_key: Bearer s3cret",
    "https://example.com/?user=bob&password=s3cret",
    "Traceback ...\n  File x\nValueError: charge(password='s3cret', user='bob')",
    "Login(password=Secret('s3cret'), user='bob')",
    "password=s3cret\nnext line",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_says_no_secret(text: str) -> None:
    masked = redact_text(text, NAMES)
    assert "s3cret" not in masked
    assert MASK in masked
    assert ("bob" in masked) >= ("user" in text and text.index("user") < text.lower().index("password"))
    assert redact_text(masked, NAMES).count(MASK) >= 1


@pytest.mark.parametrize(
    "text", ['{"password": "horse,battery,sta', "password='horse, battery", 'password=b"horse) battery']
)
def test_a_quoted_secret_that_was_cut_is_masked_to_the_end(text: str) -> None:
    shown = redact_text(text, NAMES)
    assert "horse" not in shown
    assert "battery" not in shown


def test_what_follows_a_secret_stays_readable() -> None:
    assert redact_text("{'password': 'x', 'user': 'bob'}", NAMES) == "{'password': ***, 'user': 'bob'}"
    assert redact_text("https://a/?password=x&user=bob#top", NAMES) == "https://a/?password=***&user=bob#top"
    assert redact_text("password=x\nbob", NAMES) == "password=***\nbob"


def test_names_are_no_patterns() -> None:
    names = frozenset({"a.b", "c|d", "(", "[x]"})
    assert redact_text("axb=1, a.b=2, c|d=3, [x]=4", names) == "axb=1, a.b=***, c|d=***, [x]=***"


def test_a_stored_json_text_stays_json() -> None:
    masked = redact_json(json.dumps({"password": 'a"b', "n": [1, {"API_KEY": 2}]}), NAMES)
    assert masked is not None
    assert json.loads(masked) == {"password": MASK, "n": [1, {"API_KEY": MASK}]}
    assert redact_json(None, NAMES) is None


def test_a_very_long_text_takes_no_time() -> None:
    import time

    started = time.monotonic()
    for text in ("password=" * 20_000, "password: {" * 20_000, "password='" * 20_000, "[" * 200_000, "'" * 200_000):
        redact_text(text, NAMES)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("given", [["password"], ("password",), {"password"}, frozenset({"password"}), [], ()])
def test_names_may_be_any_list_of_texts(given: Any) -> None:
    assert parse_settings({"redact": given}).redacted == frozenset(given)


def test_names_are_compared_in_lower_case() -> None:
    assert parse_settings({"redact": ["Password", "API_Key"]}).redacted == NAMES


@pytest.mark.parametrize("given", ["password", [7], [""], None, 7, True, {"password": True}, [None]])
def test_a_setting_that_is_no_list_of_texts_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSettings, match="jobs_redact"):
        parse_settings({"redact": given})
