"""The messenger by itself: what it costs where there is nothing to send, and what it survives."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Event, Kind
from celery_jobs.plugin import plugin_of
from celery_jobs.settings import CALLBACK_LEASE
from celery_jobs.store import callbacks
from celery_jobs.store.reads import database_time
from celery_jobs.store.tables import jobs
from celery_jobs.worker import courier
from celery_jobs.worker import messenger as module
from celery_jobs.worker.courier import Courier
from celery_jobs.worker.messenger import Messenger
from tests.callbacks.receiver import Receiver, every
from tests.callbacks.shop import make_app
from tests.processes import wait_until
from tests.store.conftest import change, complete, shift, store, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs.store.db import Database

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def app(database_url: str) -> Iterator[Celery]:
    app = make_app(NOWHERE, database_url, jobs_heartbeat_interval=1000, jobs_worker_timeout=2000)
    yield app
    plugin_of(app).db.dispose()
    app.close()


@pytest.fixture
def db(app: Celery) -> Database:
    return plugin_of(app).db


@pytest.fixture
def messenger(app: Celery) -> Iterator[Messenger]:
    """One that looks when it is told to."""
    messenger = Messenger(plugin_of(app))
    yield messenger
    assert messenger.wait(15), "a callback is still under way"
    messenger.stop()


@pytest.fixture
def running(messenger: Messenger) -> Messenger:
    """One at work, that has had its first look."""
    messenger.start()
    return messenger


def statements(db: Database) -> list[str]:
    """What the database is asked from now on."""
    said: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    return said


def asked(said: list[str]) -> list[str]:
    return [statement for statement in said if "callback_state" in statement]


def ended(db: Database, url: str) -> str:
    return complete(db, store(db, callback_url=url))


def test_a_look_at_nothing_is_one_select_and_writes_nothing(messenger: Messenger, db: Database) -> None:
    complete(db, store(db))
    said = statements(db)
    assert messenger.send_due() == (0, math.inf)
    (query,) = asked(said)
    assert query.startswith("SELECT")


def test_a_worker_without_callbacks_is_asked_once_a_second_however_many_jobs_end(
    messenger: Messenger, db: Database
) -> None:
    said = statements(db)
    messenger.start()
    started = time.monotonic()
    while time.monotonic() - started < 2.5:
        messenger.ring()
        time.sleep(0.001)
    assert 2 <= len(asked(said)) <= 4


def test_a_worker_that_does_nothing_is_not_asked_at_all(messenger: Messenger, db: Database) -> None:
    said = statements(db)
    messenger.start()
    wait_until(lambda: asked(said))
    messenger.ring()
    wait_until(lambda: len(asked(said)) == 2)
    assert every(lambda: len(asked(said)) == 2, 2)


def test_what_is_found_is_sent_at_once_and_the_next_with_it(
    running: Messenger, db: Database, receiver: Receiver
) -> None:
    ended(db, receiver.url("/first"))
    running.ring()
    receiver.wait_for("/first", 1)
    started = time.monotonic()
    for number in range(5):
        ended(db, receiver.url(f"/{number}"))
        running.ring()
        receiver.wait_for(f"/{number}", 1)
    assert time.monotonic() - started < 4


def nine_wait_for_a_host_that_hangs(db: Database, receiver: Receiver) -> None:
    receiver.slow["/hangs"] = 30
    for _ in range(9):
        ended(db, receiver.url("/hangs"))


def test_a_long_row_for_a_host_that_hangs_hides_nothing_behind_it(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 3)
    nine_wait_for_a_host_that_hangs(db, receiver)
    hidden = ended(db, receiver.url("/hidden", "127.0.0.2"))
    assert messenger.send_due()[0] == 3
    receiver.wait_for("/hidden", 1)
    wait_until(lambda: stored(db, hidden).callback_state == "sent")
    assert messenger.send_due()[0] == 0
    receiver.released.set()


def test_a_look_past_a_busy_host_that_finds_nothing_is_not_repeated_at_once(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 3)
    monkeypatch.setattr(module, "PAUSE", 1000)
    nine_wait_for_a_host_that_hangs(db, receiver)
    assert messenger.send_due()[0] == 2
    receiver.wait_for("/hangs", 2)
    said = statements(db)
    for _ in range(5):
        sent, more_in = messenger.send_due()
        assert sent == 0
        assert 0 < more_in <= 1000
    assert len(asked(said)) == 5
    monkeypatch.setattr(module, "PAUSE", 0)
    assert messenger.send_due() == (0, math.inf)
    assert len(asked(said)) == 7
    receiver.released.set()


def test_two_busy_hosts_do_not_keep_each_other_waiting(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 3)
    monkeypatch.setattr(module, "PAUSE", 1000)
    with Receiver() as other:
        receiver.slow["/hangs"] = other.slow["/hangs"] = 30
        for url in (receiver.url("/hangs"),) * 6 + (other.url("/hangs", "127.0.0.2"),) * 6:
            ended(db, url)
        assert messenger.send_due()[0] == 4
        assert messenger.send_due()[0] == 0
        other.released.set()
        wait_until(lambda: len(messenger._sending) == 2)
        assert messenger.send_due()[0] == 2
        wait_until(lambda: len(messenger._sending) == 2)
    receiver.released.set()


def test_what_is_new_for_a_free_host_is_found_soon_past_a_busy_one(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 3)
    nine_wait_for_a_host_that_hangs(db, receiver)
    messenger.start()
    receiver.wait_for("/hangs", 2)
    wait_until(lambda: messenger._nothing_past)
    ended(db, receiver.url("/new", "127.0.0.2"))
    messenger.ring()
    receiver.wait_for("/new", 1)
    receiver.released.set()


def test_one_host_is_one_host_however_it_is_written_and_whatever_its_port(
    messenger: Messenger, db: Database, receiver: Receiver
) -> None:
    with Receiver() as other:
        receiver.slow["/slow"] = other.slow["/slow"] = 30
        for url in (receiver.url("/slow"), other.url("/slow"), receiver.url("/slow").replace("http", "HTTP")):
            ended(db, url)
        assert messenger.send_due()[0] == 2
        assert messenger.send_due()[0] == 0
        receiver.released.set()
        other.released.set()
        assert messenger.wait(10)
        assert messenger.send_due()[0] == 1


def test_a_url_that_nobody_can_read_is_a_failure_of_its_callback_alone(
    messenger: Messenger, db: Database, receiver: Receiver
) -> None:
    strange = ended(db, "gopher://strange")
    fine = ended(db, receiver.url())
    assert messenger.send_due()[0] == 2
    assert messenger.wait(10)
    assert stored(db, fine).callback_state == "sent"
    assert stored(db, strange).callback_state == "failed"
    assert str(stored(db, strange).callback_error).startswith("invalid_url: the URL cannot be requested: ")


def test_a_chain_that_is_deleted_meanwhile_owes_nothing(
    app: Celery, db: Database, receiver: Receiver, heard: list[Event]
) -> None:
    job_id = ended(db, receiver.url())
    (taken,) = callbacks.take(db, [job_id], CALLBACK_LEASE)
    with db.transaction() as connection:
        connection.execute(jobs.delete())
    Courier(plugin_of(app)).deliver(taken, threading.Event())
    assert receiver.received == []
    assert heard == []


def test_an_outcome_waits_for_a_database_that_is_away(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, tries = callbacks.mark, []

    def away_twice(*args: Any) -> bool:
        tries.append(args)
        if len(tries) <= 2:
            raise StoreUnavailable("away")
        return mark(*args)

    monkeypatch.setattr(callbacks, "mark", away_twice)
    monkeypatch.setattr(courier, "RECORD_PAUSE", 0.05)
    job_id = ended(db, receiver.url())
    messenger.send_due()
    assert messenger.wait(10)
    assert stored(db, job_id).callback_state == "sent"
    assert len(receiver.received) == 1


def test_a_look_that_fails_is_told_and_the_next_one_works(
    messenger: Messenger, db: Database, receiver: Receiver, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent = callbacks.unsent

    def fails_once(*args: Any) -> Any:
        monkeypatch.setattr(callbacks, "unsent", unsent)
        raise RuntimeError("a look that fails")

    monkeypatch.setattr(callbacks, "unsent", fails_once)
    ended(db, receiver.url())
    messenger.start()
    failed = wait_until(lambda: [told for told in heard if told.kind is Kind.SERVICE_FAILED])
    assert failed[0].details == {"service": "messenger", "error": "RuntimeError('a look that fails')"}
    messenger.ring()
    receiver.wait_for("/hook", 1)


def test_the_events_of_callbacks_say_what_became_of_them(
    messenger: Messenger, db: Database, receiver: Receiver, heard: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers["/no"] = [500]
    sent, failed = ended(db, receiver.url("/yes")), ended(db, receiver.url("/no"))
    with caplog.at_level(logging.DEBUG, "celery_jobs"):
        messenger.send_due()
        assert messenger.wait(10)
    told = {each.kind: each for each in heard if each.job_id in (sent, failed) and "callback" in each.kind}
    assert told[Kind.CALLBACK_SENT].job_id == sent
    assert told[Kind.CALLBACK_SENT].details.keys() == {"status", "duration_ms"}
    assert told[Kind.CALLBACK_SENT].details["status"] == 200
    assert told[Kind.CALLBACK_FAILED].job_id == failed
    assert told[Kind.CALLBACK_FAILED].details == {
        "error": "the receiver answered 500",
        "tries": 1,
        "again_in": None,
    }
    assert (told[Kind.CALLBACK_FAILED].task, told[Kind.CALLBACK_FAILED].queue) == ("shop.charge", "shop")


def test_a_late_sender_writes_and_tells_nothing(
    messenger: Messenger, db: Database, receiver: Receiver, heard: list[Event]
) -> None:
    receiver.slow["/hook"] = 30
    job_id = ended(db, receiver.url())
    messenger.send_due()
    receiver.wait_for("/hook", 1)
    shift(db, CALLBACK_LEASE)
    (other,) = callbacks.take(db, [job_id], CALLBACK_LEASE)
    receiver.released.set()
    assert messenger.wait(10)
    assert (stored(db, job_id).callback_state, stored(db, job_id).callback_tries) == ("sending", 2)
    assert [told for told in heard if "callback" in told.kind] == []
    assert callbacks.mark(db, other, 200, None, 5)


def test_without_secrets_nothing_is_signed(database_url: str, receiver: Receiver) -> None:
    app = make_app(NOWHERE, database_url, jobs_callback_secrets=[])
    db = plugin_of(app).db
    ended(db, receiver.url())
    messenger = Messenger(plugin_of(app))
    messenger.send_due()
    assert messenger.wait(10)
    (request,) = receiver.received
    messenger.stop()
    assert "webhook-signature" not in request.headers
    assert {"webhook-id", "webhook-timestamp"} <= request.headers.keys()
    db.dispose()
    app.close()


def test_the_timestamp_is_the_databases(messenger: Messenger, db: Database, receiver: Receiver) -> None:
    ended(db, receiver.url())
    before = int(database_time(db).timestamp())
    messenger.send_due()
    assert messenger.wait(10)
    (request,) = receiver.received
    assert before <= int(request.headers["webhook-timestamp"]) <= database_time(db).timestamp()


def test_what_is_told_is_not_masked(messenger: Messenger, db: Database, receiver: Receiver) -> None:
    job_id = ended(db, receiver.url())
    change(db, job_id, error_message="card=4242")
    messenger.plugin.app.conf.jobs_redact = ["card"]
    messenger.send_due()
    assert messenger.wait(10)
    assert receiver.received[0].json["error_message"] == "card=4242"


def test_what_cannot_be_sent_at_all_is_given_up_and_not_tried_for_ever(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a fault of ours")

    job_id = ended(db, receiver.url())
    monkeypatch.setattr(Courier, "deliver", fail)
    assert messenger.send_due()[0] == 1
    assert messenger.wait(10)
    row = stored(db, job_id)
    assert (row.callback_state, row.callback_error, row.callback_tries) == ("failed", "not sent: ValueError", 1)


def test_what_another_worker_has_won_is_looked_past_at_once(
    messenger: Messenger, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(db, receiver.url())
    monkeypatch.setattr(callbacks, "take", lambda *_: [])
    assert messenger.send_due() == (0, module.BREATH)


def test_the_tries_that_are_counted_have_an_end(messenger: Messenger, db: Database, receiver: Receiver) -> None:
    job_id = ended(db, receiver.url())
    change(db, job_id, callback_tries=callbacks.MOST_TRIES)
    assert messenger.send_due()[0] == 1
    receiver.wait_for("/hook", 1)
    wait_until(lambda: stored(db, job_id).callback_state == "sent")
    assert stored(db, job_id).callback_tries == callbacks.MOST_TRIES
