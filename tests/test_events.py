from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from celery_jobs import events
from celery_jobs.events import Event, Kind, emit, subscribe, subscribers, unsubscribe

JOB = SimpleNamespace(id="j1", original_id="o1", task_id="t1", task="shop.charge", queue="shop", attempt_number=2)


def test_an_event_carries_the_fields_of_its_job_and_what_only_it_has(heard: list[Event]) -> None:
    emit(Kind.RETRIED, JOB, next_job_id="j3", scheduled_at="soon")
    assert heard == [
        Event(Kind.RETRIED, "j1", "o1", "t1", "shop.charge", "shop", 2, {"next_job_id": "j3", "scheduled_at": "soon"})
    ]


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["vip"], ["vip"]),
        ({"region": "eu", "Secret": 7}, {"region": "eu", "Secret": "***"}),
        (["secret:7", "vip"], ["secret:***", "vip"]),
        (None, None),
    ],
)
def test_an_event_has_the_tags_of_its_job_masked(
    heard: list[Event], monkeypatch: pytest.MonkeyPatch, tags: Any, told: Any
) -> None:
    monkeypatch.setattr(events, "_masked", frozenset())
    events.mask(frozenset({"secret"}))
    emit(Kind.STARTED, SimpleNamespace(id="j1", tags=tags))
    emit(Kind.LOST, job_id="j1")
    assert [event.tags for event in heard] == [told, None]


def test_an_event_without_a_job_carries_what_is_given(heard: list[Event]) -> None:
    emit(Kind.DROPPED, job_id="j1", queue="shop", reason="taken")
    assert heard == [Event(Kind.DROPPED, job_id="j1", queue="shop", details={"reason": "taken"})]


def test_what_is_given_goes_before_what_the_job_says(heard: list[Event]) -> None:
    emit(Kind.REPLAYED, JOB, job_id="j2", original_id="o2")
    assert (heard[0].job_id, heard[0].original_id, heard[0].task_id) == ("j2", "o2", "t1")


def test_a_failing_subscriber_is_named_in_the_log_and_breaks_nothing(
    heard: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    @subscribe
    def clumsy(event: Event) -> None:
        raise ZeroDivisionError(event.kind)

    later: list[Event] = []
    subscribe(later.append)
    try:
        with caplog.at_level(logging.ERROR, "celery_jobs"):
            emit(Kind.COMPLETED, JOB)
    finally:
        unsubscribe(clumsy)
        unsubscribe(later.append)
    assert len(heard) == len(later) == 1
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "clumsy failed at job.completed" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_who_has_unsubscribed_hears_nothing(heard: list[Event]) -> None:
    gone: list[Event] = []
    subscribe(gone.append)
    assert gone.append in subscribers()
    unsubscribe(gone.append)
    emit(Kind.COMPLETED, JOB)
    assert (len(heard), gone) == (1, [])


def test_a_subscriber_may_unsubscribe_itself_while_it_is_told(heard: list[Event]) -> None:
    told: list[str] = []

    def once(event: Event) -> None:
        told.append(event.kind)
        unsubscribe(once)

    after: list[Event] = []
    subscribe(once)
    subscribe(after.append)
    emit(Kind.STARTED)
    emit(Kind.COMPLETED)
    unsubscribe(after.append)
    assert told == ["job.started"]
    assert [event.kind for event in after] == [event.kind for event in heard] == ["job.started", "job.completed"]
