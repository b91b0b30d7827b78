"""The ways of RabbitMQ's native delayed delivery, as Celery 5.7 and kombu 5.7 make them."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.amqp import Queues
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import calculate_routing_key

from celery_jobs.delayed_delivery import ENTRY, held_way, plain_options, plain_way

QUORUM = {"x-queue-type": "quorum"}
QUEUES = Queues(
    [
        Queue("orders", Exchange("shop", "topic"), "order.new", queue_arguments=QUORUM),
        Queue("letters", Exchange("post", "direct"), "letters", queue_arguments=QUORUM),
    ]
)
CLASSIC = Queues([Queue("orders", Exchange("shop", "topic"), "order.new")])
LAST = "celery_delayed_delivery"


def waiting(seconds: int, key: str) -> str:
    return str(calculate_routing_key(seconds, key))


@pytest.mark.parametrize("exchange", [ENTRY, "celery_delayed_0", LAST])
def test_a_way_with_a_wait_is_read_as_the_way_to_its_queue(exchange: str) -> None:
    assert plain_way(QUEUES, exchange, waiting(3600, "order.new")) == ("shop", "order.new", QUEUES["orders"])


def test_to_a_queue_that_is_not_known_the_last_of_the_exchanges_leads() -> None:
    assert plain_way(QUEUES, ENTRY, waiting(3600, "order.old")) == (LAST, "order.old", None)


@pytest.mark.parametrize("way", [("", "orders"), ("shop", "order.new"), ("shop", "0.1.0")])
def test_a_way_without_a_wait_stays_as_it_is(way: tuple[str, str]) -> None:
    assert plain_way(QUEUES, *way) == (*way, None)


def test_the_options_of_a_publish_say_the_queue_that_their_wait_had_hidden() -> None:
    options = {"exchange": Exchange(ENTRY, type="topic"), "routing_key": waiting(5, "order.new"), "priority": 3}
    told = {"exchange": "shop", "routing_key": "order.new", "declare": [QUEUES["orders"]], "priority": 3}
    assert plain_options(QUEUES, options) == told


@pytest.mark.parametrize("options", [{}, {"exchange": Exchange("shop"), "routing_key": "order.new", "declare": []}])
def test_the_options_of_a_publish_without_a_wait_stay_as_they_are(options: dict[str, Any]) -> None:
    assert plain_options(QUEUES, options) is options


@pytest.mark.parametrize("way", [("shop", "order.new"), (LAST, "order.old")])
def test_rabbitmq_holds_a_message_for_the_whole_seconds_of_its_wait(way: tuple[str, str]) -> None:
    assert held_way(QUEUES, "orders", *way, wait=45.9) == (ENTRY, waiting(45, way[1]))


@pytest.mark.parametrize(
    ("queues", "queue", "way", "wait"),
    [
        pytest.param(QUEUES, "orders", ("shop", "order.new"), 0.9, id="less than a second"),
        pytest.param(QUEUES, "letters", ("post", "letters"), 45, id="a direct exchange"),
        pytest.param(QUEUES, "letters", ("", "letters"), 45, id="no exchange"),
        pytest.param(QUEUES, "orders", ("elsewhere", "order.new"), 45, id="another exchange"),
        pytest.param(QUEUES, "unknown", ("shop", "order.new"), 45, id="an unknown queue"),
        pytest.param(CLASSIC, "orders", ("shop", "order.new"), 45, id="no quorum queue"),
    ],
)
def test_where_celery_has_nothing_held_the_way_stays_as_it_is(
    queues: Queues, queue: str, way: tuple[str, str], wait: float
) -> None:
    assert held_way(queues, queue, *way, wait) == way
