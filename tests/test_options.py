from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from celery_jobs.errors import InvalidJob
from celery_jobs.options import JobOptions, take_options
from celery_jobs.policy import Fixed, Level

# What Celery and kombu take or pass on themselves.
CELERYS = [
    "add_to_parent", "chain", "chord", "compression", "confirm_timeout", "connection", "content_type", "correlation_id",
    "countdown", "declare", "delivery_mode", "eta", "exchange", "exchange_type", "expiration", "expires", "group_id",
    "group_index", "headers", "ignore_result", "immediate", "link", "link_error", "mandatory", "message_id",
    "parent_id", "priority", "producer", "publisher", "queue", "replaced_task_nesting", "reply_to", "result_cls",
    "retry", "root_id", "route_name", "router", "routing_key", "serializer", "shadow", "sign", "soft_time_limit",
    "stamped_headers", "task_id", "task_type", "time_limit", "timeout", "user_id",
]  # fmt: skip


def _refused(**options: Any) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        take_options(options)
    return caught.value


def test_no_options_say_nothing() -> None:
    assert take_options({}) == JobOptions()


def test_our_options_are_taken_out_and_celerys_are_left() -> None:
    options: dict[str, Any] = {
        "queue": "shop",
        "countdown": 5,
        "idempotency_key": "order-1",
        "tags": ["a"],
        "max_attempts": 3,
        "job_priority": 5,
    }
    taken = take_options(options)
    assert options == {"queue": "shop", "countdown": 5}
    assert (taken.idempotency_key, taken.tags, taken.job_priority) == ("order-1", ["a"], 5)
    assert taken.level == Level(max_attempts=3)


@pytest.mark.parametrize("name", CELERYS)
def test_no_option_of_celerys_is_mistaken_for_one_of_ours(name: str) -> None:
    options = {name: "value"}
    assert take_options(options) == JobOptions()
    assert options == {name: "value"}


def test_a_stamp_is_no_option_whatever_its_name() -> None:
    options = {"stamped_headers": ["tag", "session", "delay"], "tag": "a", "session": "b", "delay": "c"}
    assert take_options(dict(options)) == JobOptions()
    left = dict(options)
    take_options(left)
    assert left == options


@pytest.mark.parametrize("policy", [{}, {"max_retries": 3, "interval_start": 0}, {"errback": None}])
def test_celerys_own_retry_policy_passes_untouched(policy: dict[str, Any]) -> None:
    options: dict[str, Any] = {"retry": True, "retry_policy": policy}
    assert take_options(options).level == Level()
    assert options["retry_policy"] is policy


@pytest.mark.parametrize("policy", [Fixed(30, 4), [30, 30, 30], {"delays": [30.0], "max_attempts": 4}])
def test_our_retry_policy_is_taken(policy: Any) -> None:
    options = {"retry_policy": policy}
    assert take_options(options).level.attempts == 4
    assert options == {}


def test_an_option_that_is_none_says_nothing() -> None:
    names = ["idempotency_key", "tags", "delay", "scheduled_at", "max_attempts", "retry_policy", "concurrency_limit"]
    assert take_options(dict.fromkeys(names)) == JobOptions()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("idempotencykey", "idempotency_key"),
        ("idempotency_keys", "idempotency_key"),
        ("max_attempt", "max_attempts"),
        ("retry_delay", "retry_delays"),
        ("callback", "callback_url"),
        ("tag", "tags"),
        ("delays", "delay"),
        ("schedule_at", "scheduled_at"),
        ("concurency_key", "concurrency_key"),
    ],
)
def test_a_near_miss_is_refused_with_the_right_name(wrong: str, right: str) -> None:
    error = _refused(**{wrong: 1})
    assert error.field == wrong
    assert f"did you mean {right}?" in str(error)


def test_an_unknown_option_is_left_to_celery() -> None:
    options = {"x_custom": 1}
    take_options(options)
    assert options == {"x_custom": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("idempotency_key", ""),
        ("idempotency_key", "x" * 256),
        ("idempotency_key", 7),
        ("idempotency_key", "a\x00b"),
        ("idempotency_key", "a\ud800b"),
        ("idempotency_scope", ""),
        ("concurrency_key", ""),
        ("concurrency_key", "a\ud800b"),
        ("callback_url", "example.com/hook"),
        ("callback_url", "ftp://example.com"),
        ("callback_url", "https://"),
        ("callback_url", "http://[::1/hook"),
        ("callback_url", "https://example.com/\x00"),
        ("callback_url", 7),
        ("tags", "shop"),
        ("tags", [1]),
        ("tags", {1: "a"}),
        ("tags", 7),
        ("tags", ["x"] * 51),
        ("tags", ["a\x00b"]),
        ("tags", ["a\ud800b"]),
        ("tags", {"a\x00b": 1}),
        ("tags", {"a": object()}),
        ("tags", {"a": float("nan")}),
        ("tags", {"a": {"b": "c\x00"}}),
        ("delay", -1),
        ("delay", 86_401),
        ("delay", float("nan")),
        ("delay", float("inf")),
        ("delay", "60"),
        ("delay", True),
        ("delay", timedelta(days=2)),
        ("delay", timedelta(seconds=-1)),
        ("scheduled_at", "tomorrow"),
        ("scheduled_at", ""),
        ("scheduled_at", 0),
        ("scheduled_at", 1_700_000_000),
        ("scheduled_at", "0001-01-01T00:00:00+14:00"),
        ("run_at", "9999-12-31T23:59:59-14:00"),
        ("run_at", "10:30"),
        ("max_attempts", 0),
        ("max_attempts", 101),
        ("max_attempts", "3"),
        ("max_retries", -1),
        ("retry_delays", [-1]),
        ("retry_delays", "60"),
        ("retry_policy", 60),
        ("retry_policy", {"delays": [60], "attempts": 3}),
    ],
)
def test_a_wrong_option_is_an_error_that_names_its_field(name: str, value: Any) -> None:
    error = _refused(**{name: value})
    assert error.field == name
    assert str(error).startswith(f"{name}: ")


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2", 2**31])
def test_a_wrong_concurrency_limit_names_its_field(limit: Any) -> None:
    assert _refused(concurrency_key="customer-1", concurrency_limit=limit).field == "concurrency_limit"


@pytest.mark.parametrize("priority", [1.5, True, "high", 2**31, -(2**31) - 1])
def test_a_wrong_priority_names_the_field_that_the_caller_gave(priority: Any) -> None:
    assert _refused(job_priority=priority).field == "priority"


def test_a_limit_without_a_key_is_an_error() -> None:
    error = _refused(concurrency_limit=2)
    assert error.field == "concurrency_limit"
    assert "concurrency_key" in str(error)
    assert take_options({"concurrency_key": "c", "concurrency_limit": 2}).concurrency_limit == 2


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(0, 0), (0.5, 0.5), (86_400, 86_400), (timedelta(hours=1), 3600), (timedelta(days=1), 86_400)],
)
def test_a_delay_is_0_to_86400_seconds(delay: Any, seconds: float) -> None:
    assert take_options({"delay": delay}).delay == seconds


NOON = datetime(2026, 4, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=-5))),
        "2026-04-10T12:00:00Z",
        "2026-04-10T12:00:00",
        "2026-04-10 12:00:00",
        "2026-04-10T14:00:00+02:00",
    ],
)
@pytest.mark.parametrize("name", ["scheduled_at", "run_at"])
def test_a_moment_is_read_in_any_zone_and_a_naive_one_is_utc(name: str, value: Any) -> None:
    moment = take_options({name: value}).scheduled_at
    assert moment == NOON
    assert moment is not None
    assert moment.utcoffset() == timedelta(0)


def test_a_moment_in_the_past_is_allowed() -> None:
    assert take_options({"run_at": "2001-01-01T00:00:00Z"}).scheduled_at == datetime(2001, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "names",
    [("scheduled_at", "run_at"), ("scheduled_at", "delay"), ("run_at", "delay"), ("retry_policy", "retry_delays")],
)
def test_two_ways_to_say_the_same_are_an_error_that_names_them(names: tuple[str, str]) -> None:
    values = {"scheduled_at": NOON, "run_at": NOON, "delay": 60, "retry_policy": Fixed(1, 2), "retry_delays": [1]}
    error = _refused(**{name: values[name] for name in names})
    assert "say the same" in str(error)
    assert error.field in (*names, " and ".join(names))


def test_attempts_and_retries_that_disagree_are_an_error_that_names_both() -> None:
    assert _refused(max_attempts=3, max_retries=3).field == "max_attempts and max_retries"


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        (["b", "a"], ["b", "a"]),
        (("b", "a"), ["b", "a"]),
        ({"b", "a"}, ["a", "b"]),
        ([], []),
        ({"team": "shop", "n": 1, "deep": {"x": [1, None]}}, {"team": "shop", "n": 1, "deep": {"x": [1, None]}}),
    ],
)
def test_tags_are_a_list_or_an_object(tags: Any, kept: Any) -> None:
    assert take_options({"tags": tags}).tags == kept


@pytest.mark.parametrize("url", ["https://example.com/hook?x=1", "http://10.0.0.1:8080", "https://[::1]/hook"])
def test_a_callback_is_an_http_url(url: str) -> None:
    assert take_options({"callback_url": url}).callback_url == url


def test_the_longest_key_is_taken() -> None:
    assert take_options({"idempotency_key": "ü" * 255}).idempotency_key == "ü" * 255
