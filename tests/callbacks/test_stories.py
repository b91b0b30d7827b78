"""Callbacks from real workers to a real receiver: each end is told once, as it was, and nobody waits for it."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import standardwebhooks

import celery_jobs
from celery_jobs import InvalidJob, verify_callback
from celery_jobs.callbacks import due_callbacks
from celery_jobs.settings import CALLBACK_LEASE
from tests.callbacks.receiver import every
from tests.callbacks.shop import SECRET
from tests.processes import wait_until
from tests.servers.databases import BOTH
from tests.store.conftest import change, snapshot

if TYPE_CHECKING:
    from tests.callbacks.conftest import Shop
    from tests.callbacks.receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", BOTH, indirect=True)]


def test_each_end_is_told_once_in_order_and_signed_and_the_outcome_stands_on_its_attempt(
    shop: Shop, receiver: Receiver
) -> None:
    worker = shop.start_worker()
    lucky = shop.enqueue("works_on_attempt", 3, callback_url=receiver.url("/lucky"))
    dead = shop.enqueue("fails", callback_url=receiver.url("/dead"))
    silent = shop.enqueue("works")
    for job_id, path in ((lucky, "/lucky"), (dead, "/dead")):
        rows = shop.settled(job_id, 3)
        told = receiver.wait_for(path, 3, process=worker)
        assert [request.json for request in told] == [callback.body for callback in due_callbacks(rows)]
        assert [request.id for request in told] == [f"cb_{row.id}" for row in rows]
        assert {(row.callback_state, row.callback_status, row.callback_tries) for row in rows} == {("sent", 200, 1)}
        assert all(row.callback_error is None and row.callback_duration_ms is not None for row in rows)
        for request in told:
            assert verify_callback(request.headers, request.body, SECRET) == request.json
            assert standardwebhooks.Webhook(SECRET).verify(request.body, request.headers) == request.json
            assert request.headers["content-type"] == "application/json"
            assert request.headers["user-agent"] == f"celery-jobs/{celery_jobs.__version__}"
    assert [request.json["status"] for request in receiver.at("/lucky")] == [
        *("retrying", "failed_with_retries", "success")
    ]
    last = receiver.at("/dead")[-1].json
    assert (last["status"], last["job_id"], last["attempt_number"]) == ("dead_lettered", dead, 3)
    assert shop.jobs.wait(silent, 40).attempts[0].callback_state is None
    assert len(receiver.received) == 6


@pytest.mark.matrix
def test_the_ends_of_a_run_are_told_one_after_the_other(shop: Shop, receiver: Receiver) -> None:
    receiver.slow["/slow"] = 0.7
    worker = shop.start_worker()
    shop.enqueue("works_on_attempt", 3, callback_url=receiver.url("/slow"))
    told = receiver.wait_for("/slow", 3, process=worker)
    assert [request.json["status"] for request in told] == ["retrying", "failed_with_retries", "success"]
    assert receiver.most_at_once == 1


def test_a_cancel_an_expiry_and_an_end_elsewhere_are_told_by_whatever_worker_there_is(
    shop: Shop, receiver: Receiver
) -> None:
    cancelled = shop.enqueue("works", delay=3600, callback_url=receiver.url("/cancelled"))
    shop.jobs.cancel(cancelled)
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    expired = shop.enqueue("works", expires=soon, queue="nobodys", callback_url=receiver.url("/expired"))
    worker = shop.start_worker(queues=("other",))
    for job_id, path in ((cancelled, "/cancelled"), (expired, "/expired")):
        (told,) = receiver.wait_for(path, 1, process=worker)
        assert (told.json["status"], told.json["job_id"], told.json["attempt_number"]) == ("cancelled", job_id, 1)
        (row,) = shop.settled(job_id)
        assert (row.callback_state, row.failure_reason) == ("sent", "expired" if job_id == expired else None)
    assert len(receiver.received) == 2


@pytest.mark.matrix
def test_a_run_that_is_killed_or_stops_itself_is_told_once_as_cancelled(shop: Shop, receiver: Receiver) -> None:
    worker = shop.start_worker()
    killed = shop.enqueue("waits_for", str(shop.folder / "never"), callback_url=receiver.url("/killed"))
    wait_until(lambda: shop.jobs.get(killed).status == "processing", process=worker)
    shop.jobs.cancel(killed, terminate=True)
    stopped = shop.enqueue("stops", callback_url=receiver.url("/stopped"))
    for job_id, path in ((killed, "/killed"), (stopped, "/stopped")):
        (told,) = receiver.wait_for(path, 1, process=worker)
        assert (told.json["status"], told.json["job_id"], told.json["attempt_number"]) == ("cancelled", job_id, 1)
        assert told.json["duration_ms"] is not None
        shop.settled(job_id)
    assert len(receiver.received) == 2


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_the_end_of_a_job_wakes_the_messenger_of_its_worker_in_every_pool(
    shop: Shop, receiver: Receiver, pool: str
) -> None:
    worker = shop.start_worker(pool=pool, jobs_heartbeat_interval=1000, jobs_worker_timeout=2000)
    for number in range(2):
        works = shop.enqueue("works", callback_url=receiver.url(f"/works-{number}"))
        fails = shop.enqueue("fails", max_attempts=1, callback_url=receiver.url(f"/fails-{number}"))
        (told,) = receiver.wait_for(f"/works-{number}", 1, process=worker)
        assert told.json["job_id"] == works
        (told,) = receiver.wait_for(f"/fails-{number}", 1, process=worker)
        assert (told.json["job_id"], told.json["status"]) == (fails, "dead_lettered")


def test_what_a_receiver_refuses_is_noted_and_neither_followed_nor_repeated_nor_the_jobs_fault(
    shop: Shop, receiver: Receiver
) -> None:
    receiver.answers = {"/broken": [500], "/moved": [302], "/moved-for-good": [308], "/gone": [410], "/empty": [204]}
    receiver.headers = {path: {"location": receiver.url("/elsewhere")} for path in ("/moved", "/moved-for-good")}
    shop.start_worker()
    jobs = {path: shop.enqueue("works", callback_url=receiver.url(path)) for path in receiver.answers}
    rows = {path: shop.settled(job_id)[0] for path, job_id in jobs.items()}
    assert {path: (row.callback_state, row.callback_status, row.callback_error) for path, row in rows.items()} == {
        "/broken": ("failed", 500, "the receiver answered 500"),
        "/moved": ("failed", 302, "the receiver answered 302, and redirects are not followed"),
        "/moved-for-good": ("failed", 308, "the receiver answered 308, and redirects are not followed"),
        "/gone": ("failed", 410, "the receiver answered 410"),
        "/empty": ("sent", 204, None),
    }
    assert {row.final_status for row in rows.values()} == {"success"}
    assert every(lambda: len(receiver.received) == 5, 1.5)


def test_a_destination_that_is_not_allowed_is_refused_at_the_enqueue_and_again_at_the_send(
    shop: Shop, receiver: Receiver
) -> None:
    with pytest.raises(InvalidJob) as caught:
        shop.enqueue("works", callback_url="http://169.254.169.254/latest")
    assert caught.value.field == "callback_url"
    assert len(shop.jobs.list()) == 0
    worker = shop.start_worker(jobs_http_allowed_addresses=["127.0.0.1"])
    blocked = shop.enqueue("works", callback_url=receiver.url("/blocked", host="127.0.0.9"))
    (row,) = shop.settled(blocked)
    assert (row.callback_state, row.callback_status) == ("failed", None)
    error = "blocked_address: the destination 127.0.0.9 is not allowed (jobs_http_allowed_addresses)"
    assert row.callback_error == error
    assert f"the callback of job {blocked} failed at try 1: {error}" in worker.log
    assert receiver.received == []


def test_a_receiver_that_is_down_is_noted(shop: Shop, receiver: Receiver) -> None:
    shop.start_worker()
    (row,) = shop.settled(shop.enqueue("works", callback_url="http://127.0.0.1:1/hook"))
    assert (row.callback_state, row.callback_status, row.final_status) == ("failed", None, "success")
    assert str(row.callback_error).startswith("connection_error: ")


def test_a_receiver_that_fails_twice_gets_it_at_the_third_try_under_one_id(shop: Shop, receiver: Receiver) -> None:
    receiver.answers["/flaky"] = [500, 503, 200]
    worker = shop.start_worker(jobs_callback_retry_delays=[0.2, 0.4])
    job_id = shop.enqueue("works", callback_url=receiver.url("/flaky"))
    told = receiver.wait_for("/flaky", 3, process=worker)
    (row,) = shop.settled(job_id)
    assert (row.callback_state, row.callback_status, row.callback_error, row.callback_tries) == ("sent", 200, None, 3)
    assert {(request.id, request.body) for request in told} == {(f"cb_{job_id}", told[0].body)}
    first, second = told[1].at - told[0].at, told[2].at - told[1].at
    assert 0.2 <= first < 2
    assert 0.4 <= second < 2
    assert every(lambda: len(receiver.received) == 3, 1)


@pytest.mark.matrix
def test_a_receiver_that_fails_for_good_is_given_up_after_the_last_try(shop: Shop, receiver: Receiver) -> None:
    receiver.answers["/dead"] = [500]
    shop.start_worker(jobs_callback_retry_delays=[0.1])
    job_id = shop.enqueue("works", callback_url=receiver.url("/dead"))
    (row,) = shop.settled(job_id)
    assert (row.callback_state, row.callback_tries) == ("failed", 2)
    assert every(lambda: len(receiver.received) == 2, 1.5)


@pytest.mark.matrix
def test_a_resend_is_the_same_message_with_a_time_of_its_own(shop: Shop, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [500, 200]
    worker = shop.start_worker()
    job_id = shop.enqueue("works_on_attempt", 2, callback_url=receiver.url())
    shop.settled(job_id, 2)
    first = receiver.at("/hook")[0]
    wait_until(lambda: time.time() >= int(first.headers["webhook-timestamp"]) + 1)
    shop.jobs.resend_callback(job_id, attempt=1)
    again = receiver.wait_for("/hook", 3, process=worker)[2]
    assert (again.id, again.body) == (first.id, first.body)
    assert int(again.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert verify_callback(again.headers, again.body, SECRET)
    wait_until(lambda: shop.jobs.get(job_id).attempts[0].callback_state == "sent")


def test_a_receiver_that_hangs_delays_no_other_callback_and_no_job(shop: Shop, receiver: Receiver) -> None:
    receiver.slow["/hangs"] = 30
    worker = shop.start_worker()
    hanging = [shop.enqueue("works", callback_url=receiver.url("/hangs")) for _ in range(150)]
    receiver.wait_for("/hangs", 2, process=worker)
    shop.jobs.wait(hanging[-1], 40)
    started = time.monotonic()
    healthy = [shop.enqueue("works", callback_url=receiver.url("/works", host="127.0.0.2")) for _ in range(5)]
    receiver.wait_for("/works", 5, timeout=9, process=worker)
    assert time.monotonic() - started < 9  # less than a receiver that hangs is given
    for job_id in healthy:
        (row,) = shop.settled(job_id)
        assert row.callback_state == "sent"
    assert receiver.most_a_host["127.0.0.1"] == 2


@pytest.mark.matrix
def test_a_callback_takes_ten_seconds_in_all(shop: Shop, receiver: Receiver) -> None:
    receiver.slow["/hangs"] = 30
    shop.start_worker()
    (row,) = shop.settled(shop.enqueue("works", callback_url=receiver.url("/hangs")), timeout=20)
    assert (row.callback_state, row.callback_status) == ("failed", None)
    assert str(row.callback_error).startswith("timeout: ")
    assert 9_900 <= (row.callback_duration_ms or 0) < 12_000


def test_eight_are_sent_at_once_and_two_to_a_host(shop: Shop, receiver: Receiver) -> None:
    hosts = [f"127.0.0.{number}" for number in range(1, 7)]
    receiver.slow["/slow"] = 0.4
    for host in hosts * 6:
        shop.jobs.cancel(shop.enqueue("works", delay=3600, callback_url=receiver.url("/slow", host)))
    worker = shop.start_worker()
    receiver.wait_for("/slow", 36, process=worker)
    assert receiver.most_at_once == 8
    assert set(receiver.most_a_host.values()) == {2}
    assert len({request.id for request in receiver.received}) == 36


@pytest.mark.matrix
def test_two_workers_send_each_callback_once(shop: Shop, receiver: Receiver) -> None:
    ids = [shop.enqueue("works", callback_url=receiver.url("/hook", f"127.0.0.{n % 5 + 1}")) for n in range(60)]
    workers = [shop.start_worker(), shop.start_worker()]
    receiver.wait_for("/hook", 60, process=workers[0])
    for job_id in ids:
        (row,) = shop.settled(job_id)
        assert (row.callback_state, row.callback_tries) == ("sent", 1)
    assert sorted(request.id for request in receiver.received) == sorted(f"cb_{job_id}" for job_id in ids)


def test_a_worker_that_is_killed_between_the_post_and_its_record_leaves_it_to_another_under_the_same_id(
    shop: Shop, receiver: Receiver
) -> None:
    receiver.slow["/hook"] = 30
    struck = shop.start_worker()
    job_id = shop.enqueue("works", callback_url=receiver.url())
    receiver.wait_for("/hook", 1, process=struck)
    struck.kill()
    (row,) = shop.jobs.get(job_id).attempts
    assert (row.callback_state, row.callback_tries) == ("sending", 1)
    assert row.callback_at is not None
    receiver.slow.clear()
    change(shop.db, job_id, callback_at=row.callback_at - timedelta(seconds=CALLBACK_LEASE))
    fresh = shop.start_worker()
    first, second = receiver.wait_for("/hook", 2, process=fresh)
    assert (first.id, first.body) == (second.id, second.body)
    (row,) = shop.settled(job_id)
    assert (row.callback_state, row.callback_tries) == ("sent", 2)


@pytest.mark.matrix
def test_a_worker_that_stops_does_not_wait_for_a_receiver_that_hangs(shop: Shop, receiver: Receiver) -> None:
    receiver.slow["/hangs"] = 30
    stopped = shop.start_worker()
    ids = [shop.enqueue("works", callback_url=receiver.url("/hangs")) for _ in range(4)]
    receiver.wait_for("/hangs", 2, process=stopped)
    for job_id in ids:
        shop.jobs.wait(job_id, 40)
    started = time.monotonic()
    stopped.signal(signal.SIGTERM)
    assert stopped.wait_ended() == 0
    assert time.monotonic() - started < 9  # less than a receiver that hangs is given
    states = sorted(str(shop.jobs.get(job_id).attempts[0].callback_state) for job_id in ids)
    assert states == ["due", "due", "sending", "sending"]
    receiver.slow.clear()
    receiver.released.set()
    fresh = shop.start_worker()
    receiver.wait_for("/hangs", 4, process=fresh)


def test_a_worker_that_stops_sends_what_its_last_job_owes(shop: Shop, receiver: Receiver) -> None:
    worker = shop.start_worker()
    file = shop.folder / "go"
    job_id = shop.enqueue("waits_for", str(file), callback_url=receiver.url())
    wait_until(lambda: shop.jobs.get(job_id).status == "processing")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.log)
    file.touch()
    assert worker.wait_ended() == 0
    assert [request.id for request in receiver.received] == [f"cb_{job_id}"]
    assert shop.jobs.get(job_id).attempts[0].callback_state == "sent"


@pytest.mark.matrix
def test_children_that_are_replaced_all_the_while_and_callbacks_do_not_get_in_each_others_way(
    shop: Shop, receiver: Receiver
) -> None:
    """Each child is forked beside threads that send: none may inherit what one of them holds."""
    receiver.slow["/hook"] = 0.05
    worker = shop.start_worker(worker_max_tasks_per_child=1)
    ids = [shop.enqueue("works", callback_url=receiver.url("/hook", f"127.0.0.{n % 4 + 1}")) for n in range(12)]
    for job_id in ids:
        assert shop.jobs.wait(job_id, 30).final_status == "success"
    told = receiver.wait_for("/hook", 12, process=worker)
    assert sorted(request.id for request in told) == sorted(f"cb_{job_id}" for job_id in ids)


def test_a_secret_is_in_no_log_and_in_no_row(shop: Shop, receiver: Receiver) -> None:
    worker = shop.start_worker()
    shop.settled(shop.enqueue("works_on_attempt", 2, callback_url=receiver.url()), 2)
    shop.settled(shop.enqueue("works", callback_url="http://127.0.0.1:1/hook"))
    key = SECRET.removeprefix("whsec_")
    assert key not in worker.log
    assert key not in str(snapshot(shop.db))
    assert key not in repr(shop.app.celery_jobs.settings)
    assert key not in shop.app.bugreport()
    assert all(key not in str(request) for request in receiver.received)
