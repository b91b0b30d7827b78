"""Signatures of callbacks: what we make others believe, what they make we believe, and nothing else is believed."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from werkzeug.datastructures import Headers as FlaskHeaders

import celery_jobs
from celery_jobs import InvalidSignature, verify_callback
from celery_jobs.configuration import parse_settings
from celery_jobs.signing import Secret, read_secrets, sign

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(b"another key of a good length").decode()
ID = "cb_0199b2f4-0000-7000-8000-000000000001"
NOW = 1_790_000_000
BODY = b'{"type":"job_execution","status":"success","attempt_number":1}'


def signed(body: bytes = BODY, *secrets: str, at: int = NOW) -> dict[str, str]:
    return sign(ID, at, body, [Secret(text) for text in secrets or (SECRET,)])


def verified(headers: Any, body: bytes | str = BODY, secret: Any = SECRET, **more: Any) -> Any:
    return verify_callback(headers, body, secret, now=NOW, **more)


def refusal(headers: Any, body: bytes | str = BODY, secret: Any = SECRET, **more: Any) -> str:
    with pytest.raises(InvalidSignature) as caught:
        verified(headers, body, secret, **more)
    return str(caught.value)


def test_the_worked_example_of_the_specification_is_reproduced() -> None:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, {"name": "Zoë — 東京 🚀", "raw": "\u2028"}, [], "text", 7, {"nested": [{"n": None}] * 50}],
    ids=["plain", "unicode", "empty", "text", "number", "nested"],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_standard_library_believes_us(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    headers = signed(body, at=int(time.time()))
    assert standardwebhooks.Webhook(SECRET).verify(body, headers) == value
    assert standardwebhooks.Webhook(KEY).verify(body, headers) == value
    assert verify_callback(headers, body, SECRET) == value


@pytest.mark.parametrize("body", [BODY, '{"name":"Zoë 東京"}'.encode()], ids=["plain", "unicode"])
def test_we_believe_the_standard_library(body: bytes) -> None:
    signature = standardwebhooks.Webhook(SECRET).sign(ID, datetime.fromtimestamp(NOW, UTC), body.decode())
    headers = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": signature}
    assert verified(headers, body) == json.loads(body)
    assert verified(headers, body.decode()) == json.loads(body)


def test_a_body_that_is_given_as_text_is_the_same() -> None:
    assert verified(signed(), BODY.decode())["status"] == "success"


def test_the_key_itself_is_a_secret_too() -> None:
    assert verified(signed(), secret=KEY)["status"] == "success"
    assert verified(signed(), secret=SECRET.removeprefix("whsec_"))["status"] == "success"


def test_while_secrets_rotate_either_side_may_be_first() -> None:
    both = signed(BODY, OTHER, SECRET)
    assert len(both["webhook-signature"].split()) == 2
    assert verified(both, secret=SECRET) == verified(both, secret=OTHER) == verified(signed(), secret=[OTHER, SECRET])
    assert standardwebhooks.Webhook(SECRET).verify(BODY, signed(BODY, OTHER, SECRET, at=int(time.time())))


def test_without_a_secret_there_is_no_signature_and_nobody_believes_it() -> None:
    headers = sign(ID, NOW, BODY, [])
    assert headers == {"webhook-id": ID, "webhook-timestamp": str(NOW)}
    assert refusal(headers) == "no header webhook-signature"


@pytest.mark.parametrize("change", [b"", b" ", b"\n", b"\x00"])
def test_a_body_with_a_byte_more_or_less_is_not_believed(change: bytes) -> None:
    body = BODY + change if change else BODY[:-1]
    assert "by this secret" in refusal(signed(), body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", ID + "0"),
        ("webhook-id", ID[:-1]),
        ("webhook-id", f"{ID}."),
        ("webhook-id", "\ud800"),
        ("webhook-timestamp", str(NOW + 1)),
        ("webhook-timestamp", str(NOW - 1)),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1," + base64.b64encode(bytes(32)).decode()),
        ("webhook-signature", "\ud800 \x00"),
    ],
)
def test_a_header_that_was_tampered_with_is_not_believed(name: str, value: str) -> None:
    assert "by this secret" in refusal(signed() | {name: value})


def test_a_signature_of_another_version_is_not_believed() -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v1a,")
    assert "by this secret" in refusal(headers)
    assert verified(signed() | {"webhook-signature": f"v1a,AAAA {signed()['webhook-signature']} v2,x"})


def test_what_another_has_signed_is_not_believed() -> None:
    assert "by this secret" in refusal(signed(BODY, OTHER))


@pytest.mark.parametrize(("age", "words"), [(301, "301 s old"), (-301, "301 s early"), (86_400, "86400 s old")])
def test_what_is_old_or_early_is_not_believed(age: int, words: str) -> None:
    assert refusal(signed(at=NOW - age)) == f"webhook-timestamp is {words}"


@pytest.mark.parametrize("age", [300, -300, 0])
def test_five_minutes_either_way_are_borne(age: int) -> None:
    assert verified(signed(at=NOW - age))["status"] == "success"


def test_the_tolerance_is_the_receivers() -> None:
    assert verified(signed(at=NOW - 3000), tolerance=3600)["status"] == "success"
    assert "11 s old" in refusal(signed(at=NOW - 11), tolerance=10)


@pytest.mark.parametrize(
    "timestamp", ["", "now", "1.5", "-1", "+1", "1e9", "0x10", "1_000", " 1", "١٢", "9" * 13, "9" * 5000, "nan", "inf"]
)
def test_a_timestamp_that_is_no_plain_number_is_not_believed(timestamp: str) -> None:
    assert "webhook-timestamp" in refusal(signed() | {"webhook-timestamp": timestamp})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_missing_is_named(name: str) -> None:
    headers = signed()
    del headers[name]
    assert refusal(headers) == f"no header {name}"


def test_without_any_header_all_are_named() -> None:
    assert refusal({}) == "no header webhook-id and no header webhook-timestamp and no header webhook-signature"


def test_headers_may_come_in_any_case_and_of_any_framework() -> None:
    headers = signed()
    assert verified({name.upper(): value for name, value in headers.items()})
    assert verified({name.title(): value for name, value in headers.items()})
    assert verified(FlaskHeaders(list(headers.items())))


def test_a_body_that_is_signed_and_no_json_is_refused() -> None:
    for body in (b"", b"{", b"\xff\xfe", b"NaN,"):
        assert refusal(signed(body), body) == "the body is signed, and is no JSON"


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_****", "whsec_é", "whsec_" + base64.b64encode(bytes(23)).decode(), b"short", b"x" * 65],
)
def test_a_secret_that_is_none_is_an_error_of_the_receiver_that_does_not_show_it(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"a secret (is whsec_ and base64|has 24 to 64 bytes)") as caught:
        verified(signed(), secret=text)
    assert not isinstance(caught.value, InvalidSignature)
    assert "Make one: python -c" in str(caught.value)


def test_no_secret_at_all_is_an_error_of_the_receiver() -> None:
    with pytest.raises(ValueError, match="no secret is given"):
        verified(signed(), secret=[])


def test_the_command_that_makes_a_secret_makes_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="Make one") as caught:
        Secret("whsec_")
    code = str(caught.value).partition('python -c "')[2].removesuffix('"')
    exec(code)
    assert verified(signed(BODY, made := capsys.readouterr().out.strip()), secret=made)


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(SECRET)
    for shown in (repr(secret), str(secret), f"{secret!r:>20}", repr([secret]), repr({"s": secret})):
        assert "whsec" not in shown
        assert SECRET[6:] not in shown
    with pytest.raises(TypeError):
        vars(secret)
    assert secret == Secret(KEY)
    assert secret != Secret(OTHER)
    assert secret != SECRET


def test_settings_keep_secrets_and_show_none() -> None:
    settings = parse_settings({"callback_secrets": [SECRET, OTHER]})
    assert settings.callback_secrets == (Secret(SECRET), Secret(OTHER))
    assert SECRET[6:] not in repr(settings)
    assert "whsec" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (SECRET, "a list of secrets is expected, not a str"),
        ({SECRET: 1}, "a list of secrets is expected, not a dict"),
        ([SECRET, "whsec_hunter2hunter2"], "number 2: a secret has 24 to 64 bytes, not 10"),
        ([SECRET[6:]], "number 1: a secret is whsec_ and base64"),
        ([SECRET + "\n"], "number 1: a secret is whsec_ and base64"),
        ([None], "number 1: a secret is whsec_ and base64"),
    ],
)
def test_a_wrong_secret_in_the_settings_is_named_by_its_place(given: Any, fault: str) -> None:
    with pytest.raises(celery_jobs.InvalidSettings) as caught:
        parse_settings({"callback_secrets": given})
    (problem,) = caught.value.problems
    assert problem.startswith(f"jobs_callback_secrets: {fault}")
    assert SECRET[6:] not in problem
    assert "hunter2" not in problem
    assert read_secrets(given)[1]


def test_no_secrets_are_none() -> None:
    assert parse_settings({"callback_secrets": []}).callback_secrets == ()
