from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu import Exchange, Queue
from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads

from celery_jobs.envelope import JOB_HEADER, capture, decode_headers, headers_for, properties_for, queue_of
from celery_jobs.errors import PayloadNotSerializable, PayloadTooLarge
from celery_jobs.store.rows import Message, Outgoing

BODY = [[1, "é"], {"a": None}, {"callbacks": None}]
LIMIT = 1_048_576


def _outgoing(message: Message, **overrides: Any) -> Outgoing:
    values: dict[str, Any] = {
        "job_id": "j1",
        "message": message,
        "queue": "shop",
        "task": "shop.charge",
        "task_id": "t1",
        "retries": 0,
        "priority": 0,
        "due_at": None,
        "sent_at": datetime.now(UTC),
        "expires_at": None,
    }
    return Outgoing(**{**values, **overrides})


@pytest.mark.parametrize("serializer", [None, "json", "pickle"])
def test_a_body_is_kept_as_serialized(serializer: str | None) -> None:
    message = capture(BODY, {"serializer": serializer} if serializer else {}, LIMIT)
    assert isinstance(message.body, bytes)
    accept = {message.content_type}
    assert loads(message.body, message.content_type, message.content_encoding, accept=accept) == BODY


def test_what_celery_hands_over_is_kept_apart() -> None:
    options = {
        "exchange": "shop-exchange",
        "routing_key": "shop.high",
        "serializer": "json",
        "compression": "zlib",
        "delivery_mode": 1,
        "headers": {"id": "t1", "lang": "py"},
        "correlation_id": "t1",
        "reply_to": "r1",
        "priority": 3,
        "expiration": 60.0,
        "retry": True,
        "retry_policy": {"max_retries": 3},
        "declare": [Queue("shop")],
        "timeout": None,
    }
    message = capture(BODY, options, LIMIT)
    assert (message.exchange, message.routing_key, message.compression) == ("shop-exchange", "shop.high", "zlib")
    assert (message.content_type, message.content_encoding, message.delivery_mode) == ("application/json", "utf-8", 1)
    assert decode_headers(message) == {"id": "t1", "lang": "py"}
    assert json.loads(message.properties) == {"correlation_id": "t1", "reply_to": "r1", "priority": 3, "expiration": 60}


@pytest.mark.parametrize("said", [{}, {"priority": None}, {"priority": 0}])
def test_no_priority_at_all_is_kept(said: dict[str, Any]) -> None:
    """Celery says None, and kombu takes what is not said for 0."""
    assert properties_for(_outgoing(capture(BODY, said, LIMIT))) == said


@pytest.mark.parametrize(
    ("given", "kept"), [("transient", 1), ("persistent", 2), (1, 1), (2, 2), (None, None), ("other", None)]
)
def test_a_delivery_mode_is_kept_as_its_number(given: Any, kept: int | None) -> None:
    assert capture(BODY, {"delivery_mode": given}, LIMIT).delivery_mode == kept


def test_an_exchange_object_is_kept_by_its_name() -> None:
    assert capture(BODY, {"exchange": Exchange("shop")}, LIMIT).exchange == "shop"
    assert capture(BODY, {}, LIMIT).exchange == ""


def test_each_captured_message_has_an_id_of_its_own() -> None:
    assert capture(BODY, {}, LIMIT).id != capture(BODY, {}, LIMIT).id


def test_what_the_serializer_refuses_is_an_error_of_both_kinds() -> None:
    with pytest.raises(PayloadNotSerializable, match="'json' refuses the arguments") as caught:
        capture([[object()], {}, {}], {}, LIMIT)
    assert isinstance(caught.value, EncodeError)
    assert caught.value.field == "payload"


def test_a_payload_of_just_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    """Args and kwargs count (semantics.md section 4), the canvas embedded beside them does not."""
    size = len(dumps(BODY[:2], serializer="json")[2].encode())
    assert len(capture(BODY, {}, size).body) > size
    with pytest.raises(PayloadTooLarge, match=rf"are {size:,} bytes, the limit is {size - 1:,}") as caught:
        capture(BODY, {}, size - 1)
    assert caught.value.field == "payload"


def test_a_message_goes_out_with_its_jobs_mark_and_retries() -> None:
    message = capture(BODY, {"headers": {"id": "t1", "retries": 0}}, LIMIT)
    headers = headers_for(_outgoing(message, retries=2))
    assert headers == {"id": "t1", "retries": 2, "eta": None, JOB_HEADER: "j1"}


def test_a_message_says_when_it_is_due_to_the_microsecond() -> None:
    message, due = capture(BODY, {"headers": {}}, LIMIT), datetime(2027, 1, 1, 12, 30, 0, 123456, UTC)
    assert headers_for(_outgoing(message, due_at=due))["eta"] == "2027-01-01T12:30:00.123456+00:00"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"),
        ("2020-01-01T02:00:00+02:00", "2020-01-01T02:00:00+02:00"),
        ("2999-01-01T00:00:00+00:00", None),
        ("2020-01-01T00:00:00", None),
        (None, None),
    ],
)
def test_a_message_that_is_due_says_when_its_caller_wanted_it(asked: str | None, told: str | None) -> None:
    """Not when that is still to come, as of a job that was fired, or by a clock that nobody knows."""
    message = capture(BODY, {"headers": {"eta": asked}}, LIMIT)
    assert headers_for(_outgoing(message))["eta"] == told


def test_a_message_goes_out_with_what_is_left_of_its_life() -> None:
    message = capture(BODY, {"expiration": 600.0, "priority": 3}, LIMIT)
    job = _outgoing(message, expires_at=datetime.now(UTC) + timedelta(seconds=90))
    properties = properties_for(job)
    assert properties["priority"] == 3
    assert 85 < properties["expiration"] <= 90


def test_a_message_whose_life_is_over_lives_no_longer() -> None:
    message = capture(BODY, {"expiration": 600.0}, LIMIT)
    job = _outgoing(message, expires_at=datetime.now(UTC) - timedelta(seconds=90))
    assert properties_for(job)["expiration"] == 0


@pytest.mark.parametrize("options", [{}, {"expiration": 600.0}])
def test_a_job_that_never_expires_has_no_time_to_live(options: dict[str, Any]) -> None:
    assert "expiration" not in properties_for(_outgoing(capture(BODY, options, LIMIT)))


def test_sending_changes_nothing_that_is_stored() -> None:
    message = capture(BODY, {"headers": {"id": "t1"}, "expiration": 5.0}, LIMIT)
    before = replace(message)
    headers_for(_outgoing(message, retries=3))
    properties_for(_outgoing(message))
    assert message == before


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        ({"exchange": "", "routing_key": "shop"}, "shop"),
        ({"exchange": "orders", "routing_key": "order.old", "declare": [Queue("shop")]}, "shop"),
        ({"exchange": "orders", "routing_key": "order.new", "declare": [Queue("shop")]}, "new"),
        ({"exchange": Exchange("orders"), "routing_key": "order.new"}, "new"),
        ({"exchange": "orders", "routing_key": "order.old"}, "order.old"),
        ({"routing_key": "shop", "declare": ["shop"]}, "shop"),
        ({"routing_key": "shop", "declare": []}, "shop"),
        ({}, ""),
    ],
)
def test_the_queue_of_a_publish_is_known(options: dict[str, Any], queue: str) -> None:
    queues = {"new": Queue("new", Exchange("orders"), routing_key="order.new")}
    assert queue_of(queues, options) == queue
