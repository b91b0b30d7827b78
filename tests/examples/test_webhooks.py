"""The webhook product of `examples/` from end to end, at a receiver that misbehaves."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import MetaData, create_engine, select

from tests.examples.conftest import SECRET

if TYPE_CHECKING:
    from tests.examples.stories import Story

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples-webhooks")]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_an_event_arrives_signed_at_who_subscribed(story: Story) -> None:
    endpoint = story.register("/shop")
    (delivery,) = story.publish("paid", {"invoice": 7})
    assert story.ended(delivery).final_status == "success"
    (request,) = story.requests(endpoint)
    assert (request.webhook_id, request.event_id) == (delivery.id, story.id("paid"))
    event = {"id": story.id("paid"), "type": story.event_type, "data": {"invoice": 7}}
    assert story.acted_on(endpoint) == {story.id("paid"): event}


def test_an_event_is_published_once_however_often(story: Story) -> None:
    endpoint = story.register("/shop")
    (first,) = story.publish("paid")
    story.ended(first)
    (second,) = story.publish("paid")
    (third,) = story.publish("paid")
    assert {first.id, second.id, third.id} == {first.id}
    assert (first.deduplicated, second.deduplicated, third.deduplicated) == (False, True, True)
    assert len(story.requests(endpoint)) == 1


def test_an_endpoint_that_fails_takes_nothing_from_another(story: Story) -> None:
    broken, sound = story.register("/broken", "500"), story.register("/sound")
    for name in "abcde":
        story.publish(name)
    assert {(run.final_status, run.attempt_number) for run in story.recent(broken)} == {("dead_lettered", 3)}
    assert {(run.final_status, run.attempt_number) for run in story.recent(sound)} == {("success", 1)}
    assert Counter(request.event_id for request in story.requests(broken)) == {story.id(name): 3 for name in "abcde"}
    assert Counter(request.event_id for request in story.requests(sound)) == {story.id(name): 1 for name in "abcde"}
    assert story.look(broken).disabled_because is None


def test_all_attempts_of_a_delivery_have_one_webhook_id(story: Story) -> None:
    endpoint = story.register("/shop", "500", "500", "200")
    (delivery,) = story.publish("paid")
    assert story.ended(delivery).final_status == "success"
    assert [(request.webhook_id, request.answer) for request in story.requests(endpoint)] == [
        (delivery.id, "500"),
        (delivery.id, "500"),
        (delivery.id, "200"),
    ]


def test_who_asks_for_time_is_given_it(story: Story) -> None:
    story.register("/shop", "503:1", "200")
    (delivery,) = story.publish("paid")
    first, second = story.ended(delivery).attempts
    assert (first.response_status, second.response_status) == (503, 200)
    assert first.finished_at is not None
    assert second.scheduled_at - first.finished_at == timedelta(seconds=1)


def test_a_receiver_that_hangs_is_left_and_tried_again(story: Story) -> None:
    endpoint = story.register("/shop", "hang", "200")
    (delivery,) = story.publish("paid")
    first, second = story.ended(delivery).attempts
    assert (first.failure_reason, second.final_status) == ("timeout", "success")
    assert [request.answer for request in story.requests(endpoint)] == ["hang", "200"]


def test_410_disables_the_endpoint_at_once(story: Story) -> None:
    gone, sound = story.register("/gone", "410"), story.register("/sound")
    story.publish("first")
    (delivery,) = story.recent(gone)
    assert (delivery.final_status, delivery.attempt_number) == ("dead_lettered", 1)
    assert "answered 410 Gone" in story.until_disabled(gone)

    (later,) = story.publish("later")
    assert later.tags == {"endpoint": sound.id, "event": story.id("later")}
    assert story.ended(later).final_status == "success"
    assert [request.event_id for request in story.requests(gone)] == [story.id("first")]


def test_after_recovery_each_failed_event_is_replayed_once(story: Story) -> None:
    endpoint, other = story.register("/shop", "500"), story.register("/other", "500")
    story.publish("a")
    story.publish("b")
    failed = [*story.recent(endpoint), *story.recent(other)]
    story.receiver.behave("/shop", "410")
    story.publish("c")
    story.until_disabled(endpoint)
    with pytest.raises(ValueError, match="Enable it first"):
        story.replay(story.look(endpoint), LONG_AGO)

    story.receiver.behave("/shop", "200")
    endpoint = story.enable(endpoint)
    assert story.replay(endpoint, datetime.now(UTC) + timedelta(days=1)).matched == 0
    assert story.replay(endpoint, LONG_AGO).done == 3
    again = story.replay(endpoint, LONG_AGO)
    assert (again.done, list(again.skipped)) == (0, ["already_replayed"])

    replays = [run for run in story.recent(endpoint) if run.replay_of]
    assert [run.final_status for run in replays] == ["success"] * 3
    arrived = [request for request in story.requests(endpoint) if request.answer == "200"]
    assert sorted(request.event_id for request in arrived) == sorted(map(story.id, "abc"))
    # A replay is a delivery of its own; what receivers know the event by is the id in the body.
    assert {request.webhook_id for request in arrived} == {run.id for run in replays}
    assert {run.id for run in replays}.isdisjoint(run.id for run in failed)
    assert not any(run.replay_of for run in story.recent(other))


def test_what_was_replayed_is_not_published_again(story: Story) -> None:
    endpoint = story.register("/shop", "410", "200")
    (delivery,) = story.publish("paid")
    story.until_disabled(endpoint)
    assert story.replay(story.enable(endpoint), LONG_AGO).done == 1
    story.recent(endpoint)
    (published,) = story.publish("paid")
    assert published.deduplicated
    assert published.replay_of == delivery.id
    assert [request.answer for request in story.requests(endpoint)] == ["410", "200"]


def test_a_url_that_cannot_be_requested_keeps_nothing_from_the_others(story: Story) -> None:
    from webhooks import endpoints

    wrong = endpoints.register("ftp://shop.example/", [story.event_type])
    sound = story.register("/sound")
    (delivery,) = story.publish("paid")
    assert story.ended(delivery).tags == {"endpoint": sound.id, "event": story.id("paid")}
    assert "the scheme must be http or https" in story.until_disabled(wrong)


def test_what_is_not_signed_is_not_believed(story: Story) -> None:
    endpoint = story.register("/shop")
    forged = Request(endpoint.url, data=b'{"id": "forged"}', headers={"webhook-id": "1"})
    with pytest.raises(OSError, match="401"):
        urlopen(forged)
    assert story.requests(endpoint) == []


def test_the_secret_is_in_no_log_and_no_row(story: Story, settings: dict[str, str]) -> None:
    story.register("/shop", "500", "200")
    (delivery,) = story.publish("paid")
    story.ended(delivery)
    key = SECRET.removeprefix("whsec_")
    assert delivery.task_id in story.worker.log
    assert key not in story.worker.log
    engine, tables = create_engine(settings["JOBS_DATABASE_URL"]), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = "".join(str(connection.execute(select(table)).all()) for table in tables.sorted_tables)
    engine.dispose()
    assert delivery.id in rows
    assert key not in rows
