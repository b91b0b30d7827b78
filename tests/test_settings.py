from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_jobs.configuration import parse_settings, read_settings
from celery_jobs.errors import InvalidSettings
from celery_jobs.policy import Custom, Exponential, Fixed, resolve
from celery_jobs.settings import QueueSettings, Settings


def _problems(**values: Any) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(values)
    return caught.value.problems


def _queue(**values: Any) -> QueueSettings:
    return parse_settings({"queues": {"shop": values}}).queue("shop")


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = parse_settings({})
    assert settings == Settings()
    assert {
        "service_queue": settings.service_queue,
        "promote_interval": settings.promote_interval,
        "promote_ahead": settings.promote_ahead,
        "promote_batch": settings.promote_batch,
        "redispatch_after": settings.redispatch_after,
        "max_sends": settings.max_sends,
        "reap_interval": settings.reap_interval,
        "sweep_interval": settings.sweep_interval,
        "heartbeat_interval": settings.heartbeat_interval,
        "worker_timeout": settings.worker_timeout,
        "max_losses": settings.max_losses,
        "max_payload_bytes": settings.max_payload_bytes,
        "broker_priorities": settings.broker_priorities,
    } == {
        "service_queue": "celery-jobs",
        "promote_interval": 60,
        "promote_ahead": 75,
        "promote_batch": 1000,
        "redispatch_after": 120,
        "max_sends": 20,
        "reap_interval": 15,
        "sweep_interval": 86_400,
        "heartbeat_interval": 15,
        "worker_timeout": 60,
        "max_losses": 3,
        "max_payload_bytes": 1024 * 1024,
        "broker_priorities": True,
    }
    assert settings.queues == {}
    assert settings.database_timeout < 3


def test_the_defaults_of_a_queue_are_those_of_the_contract() -> None:
    queue = parse_settings({}).queue("anything")
    assert (queue.retries_enabled, queue.retry_delays, queue.max_attempts) == (True, (60, 1800, 10800), None)
    assert (queue.dlq_retention_days, queue.history_retention_days, queue.visibility_timeout) == (14, 30, 1350)
    policy = resolve(queue.level)
    assert (policy.max_attempts, [policy.delay(n) for n in range(3)]) == (4, [60, 1800, 10800])
    assert not policy.jitter


def test_settings_are_read_of_the_app() -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update(jobs_database_url="sqlite:///shop.sqlite3", jobs_queues={"mail": {"retry_delays": [5]}})
    app.conf.jobs_max_losses = 5
    settings = read_settings(app)
    assert (settings.database_url, settings.max_losses) == ("sqlite:///shop.sqlite3", 5)
    assert settings.queue("mail").retry_delays == (5,)
    assert settings.queue("shop") == settings.queue_defaults == QueueSettings()


def test_settings_are_read_of_a_configuration_object() -> None:
    app = Celery("shop", set_as_current=False)
    app.config_from_object(SimpleNamespace(jobs_max_losses=5, broker_url="memory://"))
    assert read_settings(app).max_losses == 5


@pytest.mark.parametrize("namespace", ["CELERY", "SHOP"])
def test_settings_are_read_under_a_namespace(namespace: str) -> None:
    app = Celery("shop", set_as_current=False)
    values = {f"{namespace}_JOBS_MAX_LOSSES": 5, f"{namespace}_JOBS_QUEUES": {"mail": {"retries_enabled": False}}}
    app.config_from_object(SimpleNamespace(**values), namespace=namespace)
    settings = read_settings(app)
    assert settings.max_losses == 5
    assert not settings.queue("mail").retries_enabled


def test_a_fault_under_a_namespace_is_found() -> None:
    app = Celery("shop", set_as_current=False)
    app.config_from_object(SimpleNamespace(CELERY_JOBS_MAX_LOSES=5), namespace="CELERY")
    with pytest.raises(InvalidSettings, match="did you mean jobs_max_losses"):
        read_settings(app)


def test_what_is_set_later_goes_before_what_was_set_earlier() -> None:
    app = Celery("shop", set_as_current=False)
    app.config_from_object(SimpleNamespace(jobs_max_losses=5))
    app.conf.update(jobs_max_losses=7)
    assert read_settings(app).max_losses == 7


def test_settings_of_others_are_left_alone() -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update(task_default_queue="shop", myjobs_url="x", job_url="x")
    assert read_settings(app) == Settings()


def test_settings_are_frozen() -> None:
    settings = parse_settings({})
    for target in (settings, settings.queue_defaults):
        with pytest.raises(FrozenInstanceError):
            setattr(target, fields(target)[0].name, None)


def test_all_faults_are_listed_at_once() -> None:
    problems = _problems(
        max_losses=0,
        database_url="shop.db",
        promot_interval=5,
        queue_defaults={"retry_delays": [-1]},
        queues={"mail": {"retry_delay": [1], "retries_enabled": "no"}, "shop": 7},
    )
    expected = [
        "jobs_max_losses: a whole number above 0",
        "jobs_database_url: an SQLAlchemy URL",
        "jobs_promot_interval is not a setting; did you mean jobs_promote_interval?",
        "jobs_queue_defaults: a delay must be 0 or more",
        "jobs_queues['mail']: retry_delay is not a setting; did you mean retry_delays?",
        "jobs_queues['mail'].retries_enabled: True or False is expected",
        "jobs_queues['shop']: a dictionary is expected, not 7",
    ]
    for words in expected:
        assert [words in problem for problem in problems].count(True) == 1, words
    assert len(problems) == len(expected)


def test_the_error_shows_every_fault() -> None:
    with pytest.raises(InvalidSettings) as caught:
        parse_settings({"max_losses": 0, "max_sends": 0})
    assert "jobs_max_losses" in str(caught.value)
    assert "jobs_max_sends" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("databaseurl", "jobs_database_url"),
        ("databse_url", "jobs_database_url"),
        ("queue", "jobs_queues"),
        ("heartbeat", "jobs_heartbeat_interval"),
        ("max_payload", "jobs_max_payload_bytes"),
    ],
)
def test_the_nearest_right_name_is_told(wrong: str, right: str) -> None:
    (problem,) = _problems(**{wrong: 1})
    assert problem == f"jobs_{wrong} is not a setting; did you mean {right}?"


def test_a_name_near_nothing_is_answered_with_the_known_ones() -> None:
    (problem,) = _problems(zzzzzzzz=1)
    assert "known are" in problem
    assert "jobs_database_url" in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_losses", 2.5),
        ("max_losses", True),
        ("max_losses", "3"),
        ("promote_interval", 0),
        ("promote_interval", -1),
        ("promote_interval", float("inf")),
        ("promote_interval", float("nan")),
        ("broker_priorities", "yes"),
        ("service_queue", ""),
        ("database_url", None),
        ("queues", ["mail"]),
        ("queue_defaults", [60]),
    ],
)
def test_a_wrong_value_names_its_setting(name: str, value: Any) -> None:
    (problem,) = _problems(**{name: value})
    assert problem.startswith(f"jobs_{name}: ")
    assert repr(value) in problem


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_attempts": 0}, "from 1 to 100"),
        ({"max_attempts": 101}, "from 1 to 100"),
        ({"max_attempts": 2.5}, "from 1 to 100"),
        ({"max_attempts": 3, "max_retries": 3}, "disagree"),
        ({"max_retries": 100}, "from 1 to 100"),
        ({"max_retries": "3"}, "max_retries"),
        ({"max_retries": 2.5}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"retry_delays": [], "max_attempts": 3}, "at least one delay"),
        ({"retry_delays": "60"}, "list of seconds"),
        ({"retry_delays": [1], "retry_policy": Fixed(1, 3)}, "say the same"),
        ({"retry_policy": 60}, "list of seconds"),
        ({"dlq_retention_days": 0}, "dlq_retention_days"),
        ({"visibility_timeout": "22 min"}, "visibility_timeout"),
        ({"retry_delays": QueueSettings}, "list of seconds"),
    ],
)
def test_a_wrong_value_of_a_queue_names_the_queue(values: dict[str, Any], words: str) -> None:
    problems = _problems(queues={"shop": values})
    assert all("jobs_queues['shop']" in problem for problem in problems)
    assert any(words in problem for problem in problems)


def test_a_queue_given_as_a_value_is_checked_like_a_dictionary() -> None:
    assert _problems(queues={"shop": QueueSettings(retry_delays=(), max_attempts=3)})


def test_a_queue_says_what_differs_from_the_defaults() -> None:
    settings = parse_settings(
        {
            "queue_defaults": {"retry_delays": [5, 10], "dlq_retention_days": 7},
            "queues": {"mail": {"dlq_retention_days": 3}, "shop": {"retry_delays": [1]}},
        }
    )
    mail, shop, other = settings.queue("mail"), settings.queue("shop"), settings.queue("other")
    assert (mail.retry_delays, mail.dlq_retention_days) == ((5, 10), 3)
    assert (shop.retry_delays, shop.dlq_retention_days) == ((1,), 7)
    assert (other.retry_delays, other.dlq_retention_days) == ((5, 10), 7)


def test_a_queue_with_delays_alone_sets_the_attempts_too() -> None:
    settings = parse_settings({"queue_defaults": {"max_attempts": 9}, "queues": {"shop": {"retry_delays": [1, 2]}}})
    assert resolve(settings.queue("shop").level).max_attempts == 3
    assert resolve(settings.queue("other").level).max_attempts == 9


def test_a_list_is_exact_also_where_the_defaults_draw() -> None:
    settings = parse_settings(
        {
            "queue_defaults": {"retry_policy": Exponential(1, 4, jitter=True)},
            "queues": {"shop": {"retry_delays": [60]}, "mail": {"retry_policy": Fixed(30, 3)}},
        }
    )
    assert settings.queue("other").level.jitter
    assert not settings.queue("mail").level.jitter
    assert not settings.queue("shop").level.jitter


def test_a_policy_of_a_queue_is_its_delays_and_attempts() -> None:
    queue = _queue(retry_policy=Exponential(1, 4, jitter=True))
    assert resolve(queue.level) == Exponential(1, 4, jitter=True)
    assert resolve(_queue(retry_policy=Custom([1, 2])).level) == Custom([1, 2])
    assert resolve(_queue(retry_policy=Fixed(30, 4), max_attempts=2).level).max_attempts == 2


def test_max_retries_of_a_queue_are_its_attempts_but_one() -> None:
    assert _queue(max_retries=3).max_attempts == 4
    assert _queue(max_retries=0).max_attempts == 1
    assert _queue(max_attempts=4, max_retries=3).max_attempts == 4


def test_retries_can_be_switched_off_and_need_no_delays_then() -> None:
    queue = _queue(retries_enabled=False, retry_delays=[], max_attempts=3)
    assert not queue.retries_enabled


def test_the_highest_and_the_lowest_attempts_are_taken() -> None:
    assert _queue(max_attempts=100).max_attempts == 100
    assert _queue(max_attempts=1).max_attempts == 1


def test_a_queue_is_celerys_or_outside_workers() -> None:
    assert parse_settings({}).queue("shop").mode == "celery"
    settings = parse_settings({"queues": {"shop": {"mode": "pull", "retry_delays": [5]}, "mail": {"mode": "celery"}}})
    assert settings.queue("shop").is_pull
    assert not settings.queue("mail").is_pull
    assert settings.pull_queues == ["shop"]
    for wrong in ("push", "", None, True, ["pull"]):
        (problem,) = _problems(queues={"shop": {"mode": wrong}})
        assert problem == f"jobs_queues['shop'].mode: 'celery' or 'pull' is expected, not {wrong!r}"


def test_not_every_queue_is_outside_workers() -> None:
    assert _problems(queue_defaults={"mode": "pull"}) == [
        "jobs_queue_defaults.mode: 'pull' is said of single queues, in jobs_queues"
    ]
    pull = {"mode": "pull"}
    for given in ({"queues": {"celery-jobs": pull}}, {"queues": {"ticks": pull}, "service_queue": "ticks"}):
        (problem,) = _problems(**given)
        assert "beat's ticks go there" in problem
