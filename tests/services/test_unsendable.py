"""A stored job that this process cannot make a message of: the others go out, and its tries have an end."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import kombu.compression
import pytest
from kombu import Producer

from celery_jobs import events
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.store import reads, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.events import Event
    from celery_jobs.plugin import Plugin
    from celery_jobs.services import Service


pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def unsendable(app: Celery) -> Iterator[str]:
    """A job with a compression that its producer knows; in this process the package for it is missing."""
    kombu.compression.register(zlib.compress, zlib.decompress, "application/x-rare", aliases=["rare"])
    try:
        yield str(app.tasks["services.add"].apply_async((1,), compression="rare", delay=600).job_id)
    finally:
        _forget()


def _forget() -> None:
    kombu.compression._aliases.pop("rare", None)
    kombu.compression._encoders.pop("application/x-rare", None)


@pytest.fixture
def unsent() -> Iterator[list[Event]]:
    heard: list[Event] = []

    def hear(event: Event) -> None:
        if event.kind is events.Kind.UNSENT:
            heard.append(event)

    events.subscribe(hear)
    yield heard
    events.unsubscribe(hear)


def test_it_holds_up_no_other_job(
    app: Celery,
    plugin: Plugin,
    service: Callable[[str], Service],
    depth: Callable[[], int],
    later: Callable[[float], None],
    unsendable: str,
    unsent: list[Event],
) -> None:
    others = [app.tasks["services.add"].apply_async((n,), delay=600) for n in range(3)]
    workers.register(plugin.db, "worker@here", 1, ["celery"])
    _forget()
    later(700)
    assert service("promoter").run_once() == 3
    assert depth() == 3
    assert {event.job_id for event in unsent} == {unsendable}
    assert "rare" in unsent[0].details["error"]
    later(1000)
    assert service("redispatcher").run_once() == 0  # the broker still has the others
    (row,) = reads.attempts(plugin.db, unsendable)
    assert (row.status, row.send_count) == ("pending", 2)
    assert {reads.attempts(plugin.db, other.job_id)[0].send_count for other in others} == {1}


def test_what_the_transport_cannot_carry_holds_up_no_other_job(
    app: Celery,
    service: Callable[[str], Service],
    depth: Callable[[], int],
    later: Callable[[float], None],
    unsent: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RabbitMQ's transport raises `struct.error` for a text that is too long for its place."""
    jobs = [app.tasks["services.add"].apply_async((n,), delay=600).job_id for n in range(3)]
    publish = Producer.publish

    def publish_short(producer: Producer, body: Any, **options: Any) -> Any:
        if options["headers"][JOB_HEADER] == jobs[1]:
            raise struct.error("ubyte format requires 0 <= number <= 255")
        return publish(producer, body, **options)

    later(700)
    with monkeypatch.context() as patch:
        patch.setattr(Producer, "publish", publish_short)
        assert service("promoter").run_once() == 2
    assert (depth(), [event.job_id for event in unsent]) == (2, [jobs[1]])
